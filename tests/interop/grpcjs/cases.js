// SPDX-License-Identifier: Apache-2.0
//
// grpc-js, an implementation of gRPC without C-core's code, as a client of the test server: what
// ruby-grpc's cases lack, and what grpc-js does in its own way.
//
//   node cases.js PORT CA PROTO_FOLDER...
'use strict';
const assert = require('node:assert');
const fs = require('node:fs');
const net = require('node:net');
const {after, test} = require('node:test');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const [port, ca, ...folders] = process.argv.slice(2);
const WAIT_MS = 20000;  // far more than anything takes, so that only a hang fails
const packages = grpc.loadPackageDefinition(protoLoader.loadSync(
    ['grpc/testing/test.proto', 'mintmark/testing/probe.proto', 'grpc/health/v1/health.proto',
      'google/rpc/status.proto', 'google/rpc/error_details.proto'],
    {includeDirs: folders, keepCase: true, defaults: true, longs: Number}));
const {TestService, UnimplementedService} = packages.grpc.testing;
const {Probe} = packages.mintmark.testing;
const details = protoLoader.loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto'],
                                     {includeDirs: folders, keepCase: true, defaults: true});
const {status} = grpc;

const credentials = grpc.credentials.createSsl(fs.readFileSync(ca));
const clients = [];
function connect(Service, options = {}, to = port) {
  const client = new Service(`127.0.0.1:${to}`, credentials,
                             {'grpc.ssl_target_name_override': 'localhost',
                              'grpc.use_local_subchannel_pool': 1, ...options});
  clients.push(client);
  return client;
}
const main = connect(TestService);
const probe = connect(Probe);
after(() => clients.forEach((client) => client.close()));

// A unary or client-streaming call: {response, metadata, trailers}, or throws the status.
function unary(client, method, request, {metadata = new grpc.Metadata(), options = {}} = {}) {
  return new Promise((resolve, reject) => {
    const result = {};
    const finish = (error, response) => {
      result.response = response;
      result.error = error;
    };
    const settings = {deadline: Date.now() + WAIT_MS, ...options};
    const call = request === undefined ? client[method](metadata, settings, finish)
                                       : client[method](request, metadata, settings, finish);
    call.on('metadata', (m) => { result.metadata = m; });
    call.on('status', (s) => {
      result.trailers = s.metadata;
      setImmediate(() => result.error ? reject(Object.assign(result.error, {headers: result.metadata}))
                                      : resolve(result));
    });
    result.call = call;
  });
}

// Reads a stream to its end: {messages, error}.
function collect(call) {
  return new Promise((resolve) => {
    const messages = [];
    let error = null;
    call.on('data', (m) => messages.push(m));
    call.on('error', (e) => { error = e; });
    call.on('status', (s) => setImmediate(() => resolve({messages, error, status: s})));
  });
}

function fails(code, promise) {
  return promise.then(() => assert.fail('the call succeeded'), (error) => {
    assert.strictEqual(error.code, code, `${error.code}: ${error.details}`);
    return error;
  });
}

const sizes = (result) => result.messages.map((m) => m.payload.body.length);
const outputs = (...all) => ({response_parameters: all.map(
    ([size, interval_us = 0, compressed = false]) => ({size, interval_us, compressed: {value: compressed}}))});

// Counts the bytes that come from the server: what came compressed shows nowhere else.
async function counting(body) {
  let received = 0;
  const proxy = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    far.on('data', (data) => { received += data.length; });
    near.pipe(far).pipe(near);
    for (const socket of [near, far])
      socket.on('error', () => { near.destroy(); far.destroy(); });
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const client = connect(TestService, {}, proxy.address().port);
  try {
    await unary(client, 'EmptyCall', {});  // handshake and SETTINGS
    received = 0;
    await body(client);
    return received;
  } finally {
    client.close();
    proxy.close();
  }
}

const counts = async () => (await unary(probe, 'GetCounts', {})).response;
async function until(condition) {
  for (const end = Date.now() + WAIT_MS; !await condition();)
    assert.ok(Date.now() < end, 'it never came');
}

test('empty_unary', async () => {
  assert.deepStrictEqual((await unary(main, 'EmptyCall', {})).response, {});
});

test('large_unary', async () => {
  const {response} = await unary(main, 'UnaryCall',
                                 {response_size: 314159, payload: {body: Buffer.alloc(271828)}});
  assert.strictEqual(response.payload.body.length, 314159);
});

test('largest messages, and one byte more', async () => {
  const most = 4 * 1024 * 1024;
  const {response} = await unary(main, 'UnaryCall', {response_size: most - 10});
  assert.strictEqual(response.payload.body.length, most - 10);
  await unary(main, 'UnaryCall', {payload: {body: Buffer.alloc(most - 10)}});
  const client = connect(TestService, {'grpc.max_send_message_length': -1});
  await fails(status.RESOURCE_EXHAUSTED,
              unary(client, 'UnaryCall', {payload: {body: Buffer.alloc(most - 9)}}));
});

test('client_streaming', async () => {
  const promise = unary({StreamingInputCall: (...args) => {
    const call = main.StreamingInputCall(...args);
    for (const size of [27182, 8, 1828, 45904])
      call.write({payload: {body: Buffer.alloc(size)}});
    call.end();
    return call;
  }}, 'StreamingInputCall');
  assert.strictEqual((await promise).response.aggregated_payload_size, 74922);
});

test('server_streaming', async () => {
  const result = await collect(main.StreamingOutputCall(outputs([31415], [9], [2653], [58979])));
  assert.deepStrictEqual(sizes(result), [31415, 9, 2653, 58979]);
  assert.strictEqual(result.status.code, status.OK);
});

test('ping_pong', async () => {
  const call = main.FullDuplexCall({deadline: Date.now() + WAIT_MS});
  const asked = [31415, 9, 2653, 58979];
  const got = [];
  call.on('data', (message) => {
    got.push(message.payload.body.length);
    if (got.length < asked.length)
      call.write(outputs([asked[got.length]]));
    else
      call.end();
  });
  call.write(outputs([asked[0]]));
  const {code} = await new Promise((resolve) => call.on('status', resolve));
  assert.deepStrictEqual([code, got], [status.OK, asked]);
});

test('empty_stream', async () => {
  const call = main.FullDuplexCall();
  call.end();
  const result = await collect(call);
  assert.deepStrictEqual([result.status.code, result.messages.length], [status.OK, 0]);
});

test('server_compressed_unary', async () => {
  for (const [compressed, least, most] of [[true, 0, 20000], [false, 314159, 400000]]) {
    const bytes = await counting(async (client) => {
      const {response} = await unary(client, 'UnaryCall',
                                     {response_size: 314159, response_compressed: {value: compressed}});
      assert.ok(response.payload.body.equals(Buffer.alloc(314159)));
    });
    assert.ok(bytes > least && bytes < most, `${bytes} bytes`);
  }
});

test('server_compressed_streaming', async () => {
  const bytes = await counting(async (client) => {
    const result = await collect(client.StreamingOutputCall(outputs([31415, 0, true], [92653, 0, false])));
    assert.deepStrictEqual(sizes(result), [31415, 92653]);
  });
  assert.ok(bytes > 92653 && bytes < 92653 + 31415, `${bytes} bytes`);
});

test('client_compressed_unary and _streaming', async () => {
  const gzip = connect(TestService, {'grpc.default_compression_algorithm': 2});
  const request = {expect_compressed: {value: true}, response_size: 314159,
                   payload: {body: Buffer.alloc(271828)}};
  assert.strictEqual((await unary(gzip, 'UnaryCall', request)).response.payload.body.length, 314159);
  await fails(status.INVALID_ARGUMENT, unary(main, 'UnaryCall', request));
  const result = await unary({StreamingInputCall: (...args) => {
    const call = gzip.StreamingInputCall(...args);
    call.write({expect_compressed: {value: true}, payload: {body: Buffer.alloc(27182)}});
    call.write({expect_compressed: {value: true}, payload: {body: Buffer.alloc(45904)}});
    call.end();
    return call;
  }}, 'StreamingInputCall');
  assert.strictEqual(result.response.aggregated_payload_size, 73086);
});

test('a compression that the server lacks', async () => {
  const deflate = connect(TestService, {'grpc.default_compression_algorithm': 1});
  await fails(status.UNIMPLEMENTED, unary(deflate, 'UnaryCall', {payload: {body: Buffer.alloc(1000)}}));
});

test('status_code_and_message, every code', async () => {
  for (let code = 1; code <= 16; code++) {
    const response_status = {code, message: 'test status message'};
    const error = await fails(code, unary(main, 'UnaryCall', {response_status}));
    assert.strictEqual(error.details, 'test status message');
  }
  const result = await collect(main.StreamingOutputCall(
      {...outputs([1], [2]), response_status: {code: 2, message: 'test status message'}}));
  assert.deepStrictEqual(sizes(result), [1, 2]);
  assert.deepStrictEqual([result.status.code, result.status.details], [2, 'test status message']);
});

test('special_status_message', async () => {
  const message = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n 100%';
  const error = await fails(2, unary(main, 'UnaryCall', {response_status: {code: 2, message}}));
  assert.strictEqual(error.details, message);
});

test('status details', async () => {
  const error = await fails(status.UNIMPLEMENTED, unary(main, 'UnimplementedCall', {}));
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  const rich = details['google.rpc.Status'].deserialize(bytes);
  assert.deepStrictEqual([rich.code, rich.message], [error.code, error.details]);
  const [{type_url: type, value}] = rich.details;
  assert.strictEqual(type, 'type.googleapis.com/google.rpc.ErrorInfo');
  const info = details['google.rpc.ErrorInfo'].deserialize(value);
  assert.deepStrictEqual([info.domain, info.reason], ['mintmark', 'UNKNOWN_METHOD']);
});

test('unimplemented_method and _service', async () => {
  await fails(status.UNIMPLEMENTED, unary(main, 'UnimplementedCall', {}));
  await fails(status.UNIMPLEMENTED, unary(connect(UnimplementedService), 'UnimplementedCall', {}));
});

test('custom_metadata', async () => {
  const metadata = new grpc.Metadata();
  const every = Buffer.from(Array.from({length: 256}, (_, i) => i));
  metadata.set('x-grpc-test-echo-initial', 'test_initial_metadata_value');
  metadata.add('x-grpc-test-echo-trailing-bin', every);
  metadata.add('x-grpc-test-echo-trailing-bin', Buffer.from([0xab]));
  const check = (headers, trailers) => {
    assert.deepStrictEqual(headers.get('x-grpc-test-echo-initial'), ['test_initial_metadata_value']);
    const blobs = trailers.get('x-grpc-test-echo-trailing-bin');
    assert.deepStrictEqual(blobs, [every, Buffer.from([0xab])]);
  };
  const result = await unary(main, 'UnaryCall', {response_size: 1}, {metadata});
  check(result.metadata, result.trailers);
  const call = main.FullDuplexCall(metadata);
  let headers;
  call.on('metadata', (m) => { headers = m; });
  call.write(outputs([1]));
  call.end();
  check(headers ?? await new Promise((resolve) => call.on('metadata', resolve)),
        (await collect(call)).status.metadata);
  const error = await fails(status.ABORTED, unary(main, 'UnaryCall', {response_status: {code: 10}},
                                                  {metadata}));
  check(error.headers, error.metadata);
});

test('timeout_on_sleeping_server', async () => {
  const result = await collect(main.StreamingOutputCall(outputs([1, 1e9]), {deadline: Date.now() + 100}));
  assert.strictEqual(result.status.code, status.DEADLINE_EXCEEDED);
});

test('a deadline that has passed', async () => {
  await fails(status.DEADLINE_EXCEEDED, unary(main, 'EmptyCall', {}, {options: {deadline: Date.now() - 1}}));
});

// Before it resets a stream, node ends its own side of it: the server may see a call that was ended, so
// what counts is that nothing of it stays.
test('cancel_after_begin', async () => {
  const call = main.StreamingInputCall(() => {});
  const end = new Promise((resolve) => call.on('status', resolve));
  call.write({payload: {body: Buffer.alloc(1)}});
  await until(async () => (await counts()).calls_in_flight > 1);
  call.cancel();
  assert.strictEqual((await end).code, status.CANCELLED);
  await until(async () => (await counts()).calls_in_flight === 1);
});

test('cancel_after_first_response', async () => {
  const before = (await counts()).cancelled;
  const call = main.StreamingOutputCall(outputs([31415], [1, 1e9]));
  const end = collect(call);
  call.once('data', () => call.cancel());
  assert.strictEqual((await end).status.code, status.CANCELLED);
  await until(async () => (await counts()).cancelled > before);
});

test('many calls at once, more than streams are allowed', async () => {
  const all = await Promise.all(Array.from({length: 300}, (_, i) =>
    unary(main, 'UnaryCall', {response_size: i})));
  assert.deepStrictEqual(all.map((r) => r.response.payload.body.length),
                         Array.from({length: 300}, (_, i) => i));
});

test('keepalive between messages', async () => {
  const client = connect(TestService, {'grpc.keepalive_time_ms': 50});
  const result = await collect(client.StreamingOutputCall(outputs(...Array(8).fill([1, 30000]))));
  assert.deepStrictEqual([result.status.code, result.messages.length], [status.OK, 8]);
});

test('keepalive that is too eager', async () => {
  const client = connect(TestService, {'grpc.keepalive_time_ms': 20});
  const result = await collect(client.StreamingOutputCall(outputs([1, 1e9]), {deadline: Date.now() + WAIT_MS}));
  assert.ok([status.UNAVAILABLE, status.RESOURCE_EXHAUSTED].includes(result.status.code),
            `${result.status.code}: ${result.status.details}`);
});

test('health', async () => {
  const health = connect(packages.grpc.health.v1.Health);
  for (const service of ['', 'grpc.testing.TestService'])
    assert.strictEqual((await unary(health, 'Check', {service})).response.status, 1);
  await fails(status.NOT_FOUND, unary(health, 'Check', {service: 'nope'}));
  const watch = health.Watch({service: ''});
  const first = await new Promise((resolve) => watch.once('data', resolve));
  assert.strictEqual(first.status, 1);
  watch.on('error', () => {});
  watch.cancel();
});
