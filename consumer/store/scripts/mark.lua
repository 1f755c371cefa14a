-- Hand assignments over to the sweep. KEYS 1 dirty assignments; ARGV members
for i = 1, #ARGV do
  redis.call('HSET', KEYS[1], ARGV[i], stamp_of_now())
end
return 1
