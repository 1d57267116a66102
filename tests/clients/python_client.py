"""Sets, gets and pipelines with redis-py: plain or cluster, RESP 2 or 3. Exits 0 if all is right.

The keys are those of a file, one a line. With "replicas": a cluster whose copies are read.
"""

import sys
from pathlib import Path

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

own = f"py:{kind}:{protocol}"
assert client.ping()
assert client.set(f"{own}:greeting", "hello", ex=100)
assert client.get(f"{own}:greeting") == "hello"
assert 0 < client.ttl(f"{own}:greeting") <= 100
assert client.get(f"{own}:missing") is None
assert client.incr(f"{own}:counter") == 1
assert client.append(f"{own}:text", "ab") == 2
try:
    client.incr(f"{own}:greeting")
    raise SystemExit("an error was expected")
except redis.ResponseError as error:
    assert "not an integer" in str(error), error

tags = Path(sys.argv[4]).read_text().split()
keys = [f"{own}:key:{tag}" for tag in tags]
assert len(keys) == 16_384, len(keys)
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
    # A transaction is within a slot. Others come in between until they do not.
    accounts = [f"{own}:{{bank}}:{name}" for name in ("from", "to")]
    assert client.mset(dict(zip(accounts, (10, 0))))
    with client.pipeline() as pipeline:
        pipeline.watch(*accounts)
        balance = int(pipeline.get(accounts[0]))
        assert client.incr(accounts[0]) == 11
        pipeline.multi()
        pipeline.set(accounts[0], balance - 5).incrby(accounts[1], 5)
        try:
            pipeline.execute()
            raise SystemExit("a watched key had changed")
        except redis.WatchError:
            pass

    def transfer(pipeline):
        balance = int(pipeline.get(accounts[0]))
        pipeline.multi()
        pipeline.set(accounts[0], balance - 5).incrby(accounts[1], 5)

    assert client.transaction(transfer, *accounts) == [True, 5]
    assert client.mget(*accounts) == ["6", "5"]
    pipeline = client.pipeline(transaction=True)
    pipeline.get(accounts[0]).incr(f"{own}:{{bank}}:count").time()
    balance, count, time = pipeline.execute()
    assert (balance, count, len(time)) == ("6", 1, 2)
    assert client.rename(accounts[0], accounts[1]) and client.copy(accounts[1], accounts[0])
    assert client.mget(*accounts) == ["6", "6"]

    assert client.mget(keys[0], keys[1], f"{own}:missing") == [
        keys[0].upper(),
        keys[1].upper(),
        None,
    ]
    assert client.delete(keys[0], keys[1], f"{own}:missing") == 2
    scanned = set(client.scan_iter(match=f"{own}:key:*", count=1_000))
    assert scanned == set(keys[2:])
client.close()
