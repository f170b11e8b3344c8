-- Puts a session under an index, for as long as its row may live, and lets go of those whose time is over.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
outlive(KEYS[1], ARGV[2])
return 1
