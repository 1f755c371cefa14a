-- The jobs of a mailbox whose linked event is not over. KEYS 1 links
local jobs = {}
local links = redis.call('HGETALL', KEYS[1])
for i = 1, #links, 2 do
  local link = links[i + 1]
  if string.sub(link, 1, 1) == 'L' and struct.unpack('>i8', link, 42) >= now * 1000 then
    jobs[#jobs + 1] = links[i]
  end
end
return jobs
