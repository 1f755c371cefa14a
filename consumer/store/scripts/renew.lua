-- Hold a lease for longer. KEYS 1 lease; ARGV 1 token, 2 lease in ms. Returns 1, or 0 if it is another's by now.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
