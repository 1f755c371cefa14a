-- Hand assignments over to the sweep. KEYS 1 dirty assignments; ARGV members
local time = redis.call('TIME')
local stamp = time[1] * 1000000 + time[2]
for i = 1, #ARGV do
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', stamp))
end
return 1
