-- Release a lease and write nothing. KEYS 1 lease; ARGV 1 token
local leased = redis.call('GET', KEYS[1])
if leased and string.match(string.sub(leased, 9), '^[^%z]+') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
