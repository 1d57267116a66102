// Sets, gets and pipelines with ioredis: plain or cluster. Exits 0 if all is right.
// The keys are those of a file, one a line. With "replicas": a cluster client that would read from
// them.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
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

async function setAndGet(client, key) {
  const pipeline = client.pipeline().set(key, key.toUpperCase()).get(key);
  assert.deepEqual(await pipeline.exec(), [[null, "OK"], [null, key.toUpperCase()]]);
}

// A transaction is within a slot, and knows nothing of others that come in between.
async function transfer(client, own) {
  const [from, to] = [`${own}:{bank}:from`, `${own}:{bank}:to`];
  await client.mset(from, 10, to, 0);
  const replies = await client.multi().decrby(from, 5).incrby(to, 5).mget(from, to).exec();
  assert.deepEqual(replies, [[null, 5], [null, 5], [null, ["5", "5"]]]);
  const broken = client.multi().set(from, 1).get(from, "one word too many").exec();
  await assert.rejects(broken, /EXECABORT/);
  assert.equal(await client.get(from), "5");
}

async function main() {
  if (kind === "replicas") return replicas();
  const client = kind === "cluster" ? new Redis.Cluster([node]) : new Redis(node);
  client.on("error", (error) => {
    throw error;
  });
  const own = `js:${kind}`;
  assert.equal(await client.set(`${own}:greeting`, "hello", "EX", 100), "OK");
  assert.equal(await client.get(`${own}:greeting`), "hello");
  assert.equal(await client.get(`${own}:missing`), null);
  assert.equal(await client.incr(`${own}:counter`), 1);
  await assert.rejects(client.incr(`${own}:greeting`), /not an integer/);

  await transfer(client, own);

  const tags = fs.readFileSync(process.argv[4], "utf8").trim().split("\n");
  const keys = tags.map((tag) => `${own}:key:${tag}`);
  assert.equal(keys.length, 16_384);
  if (kind === "cluster") {
    // A pipeline of ioredis goes to one node, so that each slot gets its own.
    await Promise.all(keys.map((key) => setAndGet(client, key)));
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
    const [first, second] = keys;
    const expected = [first.toUpperCase(), second.toUpperCase(), null];
    assert.deepEqual(await client.mget(first, second, `${own}:missing`), expected);
  }
  await client.quit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
