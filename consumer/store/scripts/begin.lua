-- Take a mailbox's lease, read what the run needs, and write its intents.
-- KEYS  1 lease, 2 links, 3 zone, 4 parked mailboxes, 5 index of the site's linked mailboxes
-- ARGV  1 token, 2 lease in ms, 3 mailbox, 4 address, 5 prefix, 6 how many jobs, then for each job: job, rank,
--       transactionId or ''; and at the end '1' if every link of the mailbox is wanted too
-- Returns {'parked', code} | {'busy', ms} | {'granted', zone or '', then for each job: newest, memory, transactionId,
--         then, if wanted, job and memory of every link}
local time = redis.call('TIME')
local parked = redis.call('HGET', KEYS[4], ARGV[3])
if parked then
  local entry = cjson.decode(parked)
  if not entry.retry_at or tonumber(time[1]) < entry.retry_at then
    return {'parked', entry.code}
  end
end
-- A call that is repeated since its answer was lost finds its own token.
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'busy', redis.call('PTTL', KEYS[1])}
end
local reply = {'granted', redis.call('GET', KEYS[3]) or ''}
local stamp = struct.pack('>I8', time[1] * 1000 + math.floor(time[2] / 1000))
local last = 6 + 3 * ARGV[6]
for i = 7, last, 3 do
  local job, rank, transaction = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local memory = redis.call('HGET', KEYS[2], job)
  local tombstone = not memory and redis.call('GET', ARGV[5] .. 'gone:' .. ARGV[3] .. '/' .. job)
  local known = redis.call('GET', ARGV[5] .. 'job:' .. job)
  local newest = not known or string.sub(known, 1, 8) <= rank
  local used = ''
  if newest and transaction ~= '' and not (tombstone and string.sub(tombstone, 2, 9) >= rank) then
    if not memory then
      used = transaction
      redis.call('HSET', ARGV[5] .. 'held:' .. job, ARGV[3], '')
      redis.call('ZADD', KEYS[5], 0, ARGV[4])
      redis.call('HSET', KEYS[2], job, 'P' .. rank .. stamp .. used)
    elseif string.sub(memory, 1, 1) == 'P' and string.sub(memory, 2, 9) <= rank then
      -- The outcome of that create is not known: its transactionId stays until it is.
      used = string.sub(memory, 18)
      redis.call('HSET', KEYS[2], job, 'P' .. rank .. stamp .. used)
    end
  end
  reply[#reply + 1] = newest and 1 or 0
  reply[#reply + 1] = memory or tombstone or ''
  reply[#reply + 1] = used
end
if ARGV[last + 1] == '1' then
  for _, part in ipairs(redis.call('HGETALL', KEYS[2])) do
    reply[#reply + 1] = part
  end
end
return reply
