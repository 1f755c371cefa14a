-- Write the outcome of a run, and release its lease.
-- KEYS  1 lease, 2 links, 3 zone, 4 parked mailboxes, 5 index of the site's linked mailboxes, 6 dirty assignments,
--       7 the site's known mailboxes, 8 incarnation of the store
-- ARGV  1 token, 2 mailbox, 3 address, 4 prefix, 5 zone with '=' before it or '', 6 seconds to keep tombstones,
--       7 seconds to keep the zone, 8 '1' if the mailbox has answered, 9 the incarnation in which all events of the
--       mailbox were listed, or '', then operations: 'link' job memory | 'found' job memory | 'found beyond' job memory |
--       'tombstone' job rank | 'forget' job '' | 'dirty' member '' | 'doubt' job milliseconds: mark the job while its
--       pending link is younger than this, then forget it
-- Returns 1, or 0 with nothing written if another run has the lease
local leased = redis.call('GET', KEYS[1])
if not leased or string.match(string.sub(leased, 9), '^[^%z]+') ~= ARGV[1] then
  return 0
end
local stamp = struct.pack('>I8', now)
local function mark(member)
  redis.call('HSET', KEYS[6], member, stamp_of_now())
end
local function link(job, memory)
  redis.call('HSET', KEYS[2], job, string.sub(memory, 1, 9) .. stamp .. string.sub(memory, 18))
  redis.call('HSET', ARGV[4] .. 'held:' .. job, ARGV[2], '')
  redis.call('ZADD', KEYS[5], 0, ARGV[3])
end
local function forget(job)
  redis.call('HDEL', KEYS[2], job)
  redis.call('HDEL', ARGV[4] .. 'held:' .. job, ARGV[2])
end
for i = 10, #ARGV, 3 do
  local what, job, value = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if what == 'link' then
    link(job, value)
  elseif what == 'found' or what == 'found beyond' then
    -- The link of this event was lost. If the job has a link or a pending link by now, that one stays.
    if redis.call('HEXISTS', KEYS[2], job) == 0 then
      link(job, value)
      if what == 'found beyond' then
        mark(ARGV[3] .. '\0' .. job)
      end
    end
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
    if what == 'tombstone' then
      redis.call('SET', ARGV[4] .. 'gone:' .. ARGV[2] .. '/' .. job, 'T' .. value .. stamp, 'EX', ARGV[6])
    end
  end
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[5], ARGV[3])
end
if ARGV[5] ~= '' then
  redis.call('SET', KEYS[3], stamp .. ARGV[5], 'EX', ARGV[7])
end
if ARGV[9] ~= '' and redis.call('GET', KEYS[8]) == ARGV[9] then
  redis.call('HSET', KEYS[7], ARGV[3], ARGV[9])
end
if ARGV[8] == '1' then
  local parked = redis.call('HGET', KEYS[4], ARGV[2])
  if parked and cjson.decode(parked).retry_at then
    -- The hourly try was answered. A mailbox that an operator has parked meanwhile stays parked.
    redis.call('HDEL', KEYS[4], ARGV[2])
  end
end
redis.call('DEL', KEYS[1])
return 1
