-- The lease lives longer. One that ran out is taken again as long as nobody else has marked the row since.
local stored = redis.call('HMGET', KEYS[1], 'ended', 'fence')
local holder = redis.call('GET', KEYS[2])
if stored[1] ~= '0' or stored[2] ~= ARGV[2] or (holder and holder ~= ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return 1
