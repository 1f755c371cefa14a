-- Which events are linked in other mailboxes: two addresses may lead to one mailbox.
-- ARGV  1 mailbox, 2 prefix, then pairs: job, packed event id (the end of a link)
-- Returns the numbers of the pairs that are linked elsewhere
local found = {}
for i = 3, #ARGV, 2 do
  local job, event = ARGV[i], ARGV[i + 1]
  for _, holder in ipairs(redis.call('HKEYS', ARGV[2] .. 'held:' .. job)) do
    local link = holder ~= ARGV[1] and redis.call('HGET', ARGV[2] .. 'links:' .. holder, job)
    if link and string.sub(link, 1, 1) == 'L' and string.sub(link, -#event) == event then
      found[#found + 1] = (i - 1) / 2
      break
    end
  end
end
return found
