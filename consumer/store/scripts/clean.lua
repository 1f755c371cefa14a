-- Remove marks that did not change since they were read. KEYS 1 dirty assignments; ARGV member, stamp, member, …
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return 1
