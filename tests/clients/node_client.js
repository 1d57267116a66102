// Sets, gets and pipelines with ioredis: plain or cluster. Exits 0 if all is right.
// With "replicas": a cluster client that would read from them.
"use strict";

const assert = require("node:assert");
const Redis = require("ioredis");

const [kind, port] = [process.argv[2], Number(process.argv[3])];
const node = { host: "127.0.0.1", port };

async function replicas() {
  const client = new Redis.Cluster([node], { scaleReads: "slave" });
  for (let number = 0; number < 500; number++) {
    await client.set(`js:${number}`, number);
    assert.equal(await client.get(`js:${number}`), String(number));
  }
  await client.quit();
}

async function main() {
  if (kind === "replicas") return replicas();
  const client = kind === "cluster" ? new Redis.Cluster([node]) : new Redis(node);
  client.on("error", (error) => {
    throw error;
  });
  assert.equal(await client.set("greeting", "hello", "EX", 100), "OK");
  assert.equal(await client.get("greeting"), "hello");
  assert.equal(await client.get("missing"), null);
  assert.equal(await client.incr("counter"), 1);
  await assert.rejects(client.incr("greeting"), /not an integer/);

  const keys = Array.from({ length: 20_000 }, (_, number) => `key:${number}`);
  if (kind === "cluster") {
    // A pipeline of ioredis goes to one node; single requests go where their keys are.
    await Promise.all(keys.map((key) => client.set(key, key.toUpperCase())));
    const values = await Promise.all(keys.map((key) => client.get(key)));
    assert.deepEqual(values, keys.map((key) => key.toUpperCase()));
  } else {
    for (const command of ["set", "get"]) {
      const pipeline = client.pipeline();
      for (const key of keys) {
        command === "set" ? pipeline.set(key, key.toUpperCase()) : pipeline.get(key);
      }
      for (const [index, [error, value]] of (await pipeline.exec()).entries()) {
        assert.equal(error, null);
        assert.equal(value, command === "set" ? "OK" : keys[index].toUpperCase());
      }
    }
    assert.deepEqual(await client.mget("key:1", "key:2", "missing"), ["KEY:1", "KEY:2", null]);
  }
  await client.quit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
