-- Extend a lease. KEYS 1 lease; ARGV 1 token, 2 lease in ms. Returns 1, or 0 if another run has it.
local leased = redis.call('GET', KEYS[1])
if not leased or string.match(string.sub(leased, 9), '^[^%z]+') ~= ARGV[1] then
  return 0
end
redis.call('SETRANGE', KEYS[1], 0, struct.pack('>I8', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], LEASE_KEPT_MS)
return 1
