-- Raise a job's newest known rank and return who holds the job.
-- KEYS  1 the job's newest rank, 2 its holders
-- ARGV  1 rank (8 bytes, big-endian; empty: a deletion), 2 partition, 3 offset (both big-endian), 4 prefix of
--       links, 5 job, 6 seconds to keep the rank, 7 the site of the sweep that misses the row, or '', 8 the id of the
--       topic, because offsets of a recreated topic start again
-- Returns {rank, newest, for a deletion: number of the job's events that are not over, holder...}
local newest = redis.call('GET', KEYS[1])
local holders = redis.call('HKEYS', KEYS[2])
local rank, top, coming = ARGV[1], string.rep('\0', 8), 0
if newest then
  top = string.sub(newest, 1, 8)
end
if rank == '' then
  -- A deletion follows every state before it in its partition, and precedes those after it. If it is read again after
  -- those (offsets were rewound), it is stale.
  if newest and string.sub(newest, 9, 12) == ARGV[2] and string.sub(newest, 21) == ARGV[8]
    and is_greater(string.sub(newest, 13, 20), ARGV[3]) then
    return {string.rep('\0', 8), top, 0, unpack(holders)}
  end
  local ours, there = {}, ARGV[7] .. '/'
  for _, holder in ipairs(holders) do
    if ARGV[7] == '' or string.sub(holder, 1, #there) == there then
      ours[#ours + 1] = holder
    end
  end
  -- A job that another site holds has moved there. A row that this site misses must not outrank its states.
  rank = #ours == #holders and top or string.rep('\0', 8)
  for _, holder in ipairs(ours) do
    local link = redis.call('HGET', ARGV[4] .. holder, ARGV[5])
    if link and is_greater(string.sub(link, 2, 9), rank) then
      rank = string.sub(link, 2, 9)
    end
    if link and string.sub(link, 1, 1) == 'L' and struct.unpack('>i8', link, 42) >= now * 1000 then
      coming = coming + 1
    end
  end
  rank = string.sub(rank, 1, 7) .. string.char(bit.bor(string.byte(rank, 8), 1))
end
if not is_greater(top, rank) then
  top = rank
  redis.call('SET', KEYS[1], rank .. ARGV[2] .. ARGV[3] .. ARGV[8], 'EX', ARGV[6])
end
return {rank, top, coming, unpack(holders)}
