-- Give a lease back and write nothing. KEYS 1 lease; ARGV 1 token
local held = redis.call('GET', KEYS[1])
if held and string.match(string.sub(held, 9), '^[^%z]+') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
