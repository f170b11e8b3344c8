-- Who works on debts goes on: ARGV[1] is until when, then their names.
for n = 2, #KEYS do
  if redis.call('EXISTS', KEYS[n]) == 1 then
    redis.call('ZADD', KEYS[1], ARGV[1], ARGV[n])
  end
end
return 1
