-- How many linked events of a mailbox are not over. KEYS 1 links
local count = 0
for _, link in ipairs(redis.call('HVALS', KEYS[1])) do
  if string.sub(link, 1, 1) == 'L' and struct.unpack('>i8', link, 42) >= now * 1000 then
    count = count + 1
  end
end
return count
