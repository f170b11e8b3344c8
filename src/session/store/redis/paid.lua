-- No longer owed.
for n = 2, #KEYS do
  redis.call('DEL', KEYS[n])
  redis.call('ZREM', KEYS[1], ARGV[n - 1])
end
return 1
