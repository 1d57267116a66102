"""Sets, gets and pipelines with redis-py: plain or cluster, RESP 2 or 3. Exits 0 if all is right.

With "replicas": the same in a cluster whose copies are read.
"""

import sys

import redis

kind, port, protocol = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connect = redis.Redis if kind == "plain" else redis.RedisCluster
options = {"read_from_replicas": True} if kind == "replicas" else {}
client = connect(
    host="127.0.0.1", port=port, protocol=protocol, decode_responses=True, **options
)

if kind == "replicas":
    assert len(client.get_primaries()) == 3, client.get_primaries()
    for number in range(500):
        key = f"copied:{protocol}:{number}"
        assert client.set(key, number)
        while client.get(key) != str(number):  # a copy may lag behind
            pass
    assert client.dbsize(target_nodes="primaries") >= 500
    client.close()
    sys.exit()

assert client.ping()
assert client.set("greeting", "hello", ex=100)
assert client.get("greeting") == "hello"
assert 0 < client.ttl("greeting") <= 100
assert client.get("missing") is None
assert client.incr("counter") == 1
assert client.append("text", "ab") == 2
try:
    client.incr("greeting")
    raise SystemExit("an error was expected")
except redis.ResponseError as error:
    assert "not an integer" in str(error), error

# Enough keys that nearly every slot has one.
keys = [f"key:{number}" for number in range(40_000)]
for start in range(0, len(keys), 2_000):
    part = keys[start : start + 2_000]
    pipeline = client.pipeline(transaction=False)
    for key in part:
        pipeline.set(key, key.upper())
    assert all(pipeline.execute())
    pipeline = client.pipeline(transaction=False)
    for key in part:
        pipeline.get(key)
    assert pipeline.execute() == [key.upper() for key in part]

if kind == "plain":
    assert client.mget("key:1", "key:2", "missing") == ["KEY:1", "KEY:2", None]
    assert client.delete("key:1", "key:2", "missing") == 2
    assert sum(1 for _ in client.scan_iter(match="key:*", count=1_000)) == len(keys) - 2
client.close()
