-- Take a mailbox's lease, read what the run needs, and write its intents.
-- KEYS  1 lease, 2 links, 3 zone, 4 parked mailboxes, 5 index of the site's linked mailboxes
-- ARGV  1 token, 2 lease in ms, 3 mailbox, 4 address, 5 prefix, 6 seconds that ranks are kept, 7 seconds after which
--       Core may be right against what is known to be newer, 8 how many jobs, then for each job: job, rank,
--       transactionId or '', 'swept' | 'insists' | ''; and at the end '1' if every link of the mailbox is wanted too
-- Returns {'parked', code} | {'busy', ms} | {'granted', zone or '', then for each job: standing, memory, transactionId,
--         then, if wanted, job and memory of every link}
local SUPERSEDED, NEWEST, INSISTS, DATED = 0, 1, 2, 3
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
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
local stamp = struct.pack('>I8', now)
local kept, patience = ARGV[6] * 1000, ARGV[7] * 1000
local last = 8 + 4 * ARGV[8]
for i = 9, last, 4 do
  local job, rank, transaction, by = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local newest_key, tombstone_key = ARGV[5] .. 'job:' .. job, ARGV[5] .. 'gone:' .. ARGV[3] .. '/' .. job
  local memory = redis.call('HGET', KEYS[2], job)
  local tombstone = not memory and redis.call('GET', tombstone_key)
  local known = redis.call('GET', newest_key)
  local routed = known and string.sub(known, 1, 8) > rank
  local buried = tombstone and transaction ~= '' and string.sub(tombstone, 2, 9) >= rank
  local standing = routed and SUPERSEDED or NEWEST
  if by ~= '' then
    -- What is known to be newer stands only for so long: Core's database may have been restored.
    local against, of_late = routed, routed and kept - redis.call('PTTL', newest_key) < patience
    local kept_state = memory or tombstone
    if kept_state and (buried or string.sub(kept_state, 2, 9) > rank) then
      against, of_late = true, of_late or now - struct.unpack('>I8', kept_state, 10) < patience
    end
    if against and not of_late then
      standing = by == 'insists' and INSISTS or DATED
    end
  end
  if standing == INSISTS then
    buried = false
    redis.call('DEL', tombstone_key)
    if routed then
      redis.call('SET', newest_key, rank .. string.sub(known, 9), 'EX', ARGV[6])
    end
  end
  local used = ''
  if (standing == NEWEST or standing == INSISTS) and transaction ~= '' and not buried then
    if not memory then
      used = transaction
      redis.call('HSET', ARGV[5] .. 'held:' .. job, ARGV[3], '')
      redis.call('ZADD', KEYS[5], 0, ARGV[4])
      redis.call('HSET', KEYS[2], job, 'P' .. rank .. stamp .. used)
    elseif string.sub(memory, 1, 1) == 'P' and (standing == INSISTS or string.sub(memory, 2, 9) <= rank) then
      -- The outcome of that create is not known: its transactionId stays until it is.
      used = string.sub(memory, 18)
      redis.call('HSET', KEYS[2], job, 'P' .. rank .. stamp .. used)
    end
  end
  reply[#reply + 1] = standing
  reply[#reply + 1] = memory or tombstone or ''
  reply[#reply + 1] = used
end
if ARGV[last + 1] == '1' then
  for _, part in ipairs(redis.call('HGETALL', KEYS[2])) do
    reply[#reply + 1] = part
  end
end
return reply
