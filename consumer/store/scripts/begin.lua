-- Take a mailbox's lease, read what the run needs, and write its intents.
-- KEYS  1 lease, 2 links, 3 zone, 4 parked mailboxes, 5 index of the site's linked mailboxes,
--       6 the site's known mailboxes, 7 incarnation of the store
-- ARGV  1 token, 2 lease in ms, 3 mailbox, 4 address, 5 prefix, 6 seconds that ranks are kept, 7 seconds after which
--       Core may be right although a newer state is known, 8 number of jobs, then for each job: job, rank,
--       transactionId or '', 'swept' | 'forced' | ''; at the end '1' to read every link of the mailbox too, and the
--       incarnation that the caller knows or ''
-- Returns {'parked', code} | {'busy', ms} | {'lost', incarnation} | {'granted', zone or '', age of the zone in ms,
--         incarnation, '1' if the mailbox is known, then for each job: state, memory, transactionId, then, if wanted,
--         job and memory of every link}
local SUPERSEDED, NEWEST, FORCED, OUTRANKED = 0, 1, 2, 3
local parked = redis.call('HGET', KEYS[4], ARGV[3])
if parked then
  local entry = cjson.decode(parked)
  if not entry.retry_at or tonumber(clock[1]) < entry.retry_at then
    return {'parked', entry.code}
  end
end

local incarnation = redis.call('GET', KEYS[7])
if not incarnation then
  incarnation = 'empty since ' .. stamp_of_now()
  redis.call('SET', KEYS[7], incarnation)
  -- The store was emptied under a connection, which checked the version when it was made.
  redis.call('SET', ARGV[5] .. 'version', FORMAT, 'NX')
end
if ARGV[10 + 4 * ARGV[8]] ~= '' and ARGV[10 + 4 * ARGV[8]] ~= incarnation then
  return {'lost', incarnation}
end

-- A lease is: until when (ms), its token, the mailbox, and every job that the run may write to.
local leased = redis.call('GET', KEYS[1])
if leased then
  local parts = {}
  for part in string.gmatch(string.sub(leased, 9), '([^%z]+)') do
    parts[#parts + 1] = part
  end
  local until_ms = struct.unpack('>I8', leased)
  -- If the client repeats a call because the answer was lost, it finds its own token.
  if parts[1] ~= ARGV[1] then
    if until_ms > now then
      return {'busy', until_ms - now}
    end
    -- That run neither ended nor renewed its lease. A request of it may still land, so the next sweep looks at its jobs.
    -- Or one has landed, and a link differs from its event. So each link loses its fingerprint, 16 bytes.
    local site, address = string.match(parts[2], '^([^/]*)/(.*)$')
    for i = 3, #parts do
      redis.call('HSET', ARGV[5] .. 'dirty:' .. site, address .. '\0' .. parts[i], stamp_of_now())
      local links = ARGV[5] .. 'links:' .. parts[2]
      local link = redis.call('HGET', links, parts[i])
      if link and string.sub(link, 1, 1) == 'L' then
        redis.call('HSET', links, parts[i], string.sub(link, 1, 17) .. string.rep('\0', 16) .. string.sub(link, 34))
      end
    end
  end
end
local lease = {struct.pack('>I8', now + ARGV[2]) .. ARGV[1], ARGV[3]}
local last = 8 + 4 * ARGV[8]
for i = 9, last, 4 do
  lease[#lease + 1] = ARGV[i]
end
redis.call('SET', KEYS[1], table.concat(lease, '\0'), 'PX', LEASE_KEPT_MS)

local zone, zone_age = redis.call('GET', KEYS[3]) or '', 0
if zone ~= '' then
  zone_age = now - struct.unpack('>I8', zone)
  zone = string.sub(zone, 9)
end
local is_known = redis.call('HGET', KEYS[6], ARGV[4]) == incarnation
local reply = {'granted', zone, zone_age, incarnation, is_known and '1' or ''}
local stamp = struct.pack('>I8', now)
local kept, patience = ARGV[6] * 1000, ARGV[7] * 1000
for i = 9, last, 4 do
  local job, rank, transaction, by = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local newest_key, tombstone_key = ARGV[5] .. 'job:' .. job, ARGV[5] .. 'gone:' .. ARGV[3] .. '/' .. job
  local memory = redis.call('HGET', KEYS[2], job)
  local tombstone = not memory and redis.call('GET', tombstone_key)
  local newest = redis.call('GET', newest_key)
  local routed = newest and is_greater(string.sub(newest, 1, 8), rank)
  local tombstoned = tombstone and transaction ~= '' and not is_greater(rank, string.sub(tombstone, 2, 9))
  local state = routed and SUPERSEDED or NEWEST
  if by ~= '' then
    -- A newer known state counts only for some time, because Core's database may have been restored.
    local against, is_recent = routed, routed and kept - redis.call('PTTL', newest_key) < patience
    local kept_state = memory or tombstone
    if kept_state and (tombstoned or is_greater(string.sub(kept_state, 2, 9), rank)) then
      against, is_recent = true, is_recent or now - struct.unpack('>I8', kept_state, 10) < patience
    end
    if against and not is_recent then
      state = by == 'forced' and FORCED or OUTRANKED
    end
  end
  if state == FORCED then
    tombstoned = false
    redis.call('DEL', tombstone_key)
    if routed then
      redis.call('SET', newest_key, rank .. string.sub(newest, 9), 'EX', ARGV[6])
    end
  end
  local used = ''
  if (state == NEWEST or state == FORCED) and transaction ~= '' and not tombstoned then
    if not memory then
      used = transaction
      redis.call('HSET', ARGV[5] .. 'held:' .. job, ARGV[3], '')
      redis.call('ZADD', KEYS[5], 0, ARGV[4])
      redis.call('HSET', KEYS[2], job, 'P' .. rank .. stamp .. used)
    elseif string.sub(memory, 1, 1) == 'P' and (state == FORCED or not is_greater(string.sub(memory, 2, 9), rank)) then
      -- The transactionId stays until the outcome of that create is known.
      used = string.sub(memory, 18)
      redis.call('HSET', KEYS[2], job, 'P' .. rank .. stamp .. used)
    end
  end
  reply[#reply + 1] = state
  reply[#reply + 1] = memory or tombstone or ''
  reply[#reply + 1] = used
end
if ARGV[last + 1] == '1' then
  for _, part in ipairs(redis.call('HGETALL', KEYS[2])) do
    reply[#reply + 1] = part
  end
end
return reply
