-- Precedes every script. FORMAT, the version of the data, precedes it.
local clock = redis.call('TIME')
-- Unix time in milliseconds, as in links and leases.
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- The key of a lease is kept this long after the lease was taken or renewed, which is long after it has expired. So a
-- replica that takes it over sees what its run may have touched.
local LEASE_KEPT_MS = 900000

-- Whether the eight bytes `a` are greater than the eight bytes `b`. Never compare them with `>`: Lua compares strings with
-- strcoll, in the order of the server's locale (Lua 5.1 reference manual, 2.5.2).
local function is_greater(a, b)
  local a_high, a_low = struct.unpack('>I4I4', a)
  local b_high, b_low = struct.unpack('>I4I4', b)
  return a_high > b_high or (a_high == b_high and a_low > b_low)
end

-- The stamp of a mark for the sweep: Unix time in microseconds.
local function stamp_of_now()
  return string.format('%.0f', clock[1] * 1000000 + clock[2])
end
