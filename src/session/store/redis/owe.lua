-- What is owed: each debt under a key of its own, and all of them in the order in which they come free.
for n = 2, #KEYS do
  local at = (n - 2) * 5
  local held, gone, member = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  redis.call('HSET', KEYS[n], 'expires', ARGV[at + 4], 'sealed', ARGV[at + 5])
  redis.call('PEXPIREAT', KEYS[n], gone)
  redis.call('ZADD', KEYS[1], held, member)
  outlive(KEYS[1], gone)
end
return 1
