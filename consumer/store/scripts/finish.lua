-- Write what a run found, and give its lease back.
-- KEYS  1 lease, 2 links, 3 zone, 4 parked mailboxes, 5 index of the site's linked mailboxes, 6 dirty assignments
-- ARGV  1 token, 2 mailbox, 3 address, 4 prefix, 5 zone or '', 6 seconds to keep zone and tombstones,
--       then operations: 'link' job memory | 'bury' job rank | 'forget' job '' | 'dirty' member '' |
--       'doubt' job milliseconds: mark the job while its pending link is younger, then forget it
-- Returns 1, or 0 with nothing written if the lease is another's by now
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = struct.pack('>I8', now)
local function mark(member)
  redis.call('HSET', KEYS[6], member, string.format('%.0f', time[1] * 1000000 + time[2]))
end
local function forget(job)
  redis.call('HDEL', KEYS[2], job)
  redis.call('HDEL', ARGV[4] .. 'held:' .. job, ARGV[2])
end
for i = 7, #ARGV, 3 do
  local what, job, value = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if what == 'link' then
    redis.call('HSET', KEYS[2], job, string.sub(value, 1, 9) .. stamp .. string.sub(value, 18))
    redis.call('HSET', ARGV[4] .. 'held:' .. job, ARGV[2], '')
    redis.call('ZADD', KEYS[5], 0, ARGV[3])
  elseif what == 'dirty' then
    mark(job)
  elseif what == 'doubt' then
    local memory = redis.call('HGET', KEYS[2], job)
    if memory and now - struct.unpack('>I8', memory, 10) < tonumber(value) then
      mark(ARGV[3] .. '\0' .. job)
    else
      forget(job)
    end
  else
    forget(job)
    if what == 'bury' then
      redis.call('SET', ARGV[4] .. 'gone:' .. ARGV[2] .. '/' .. job, 'T' .. value .. stamp, 'EX', ARGV[6])
    end
  end
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[5], ARGV[3])
end
if ARGV[5] ~= '' then
  redis.call('SET', KEYS[3], ARGV[5], 'EX', ARGV[6])
end
local parked = redis.call('HGET', KEYS[4], ARGV[2])
if parked and cjson.decode(parked).retry_at then
  -- It was tried again, and answered; what an operator parked meanwhile stays parked.
  redis.call('HDEL', KEYS[4], ARGV[2])
end
redis.call('DEL', KEYS[1])
return 1
