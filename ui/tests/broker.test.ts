// Smoke test of the demo broker's source, spoken to in bare MQTT 3.1.1, so that no client library is needed.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, describe, it } from 'node:test';

const SOURCE = new URL('../broker/broker.ts', import.meta.url).pathname;
const running: ChildProcess[] = [];
after(() => running.forEach((child) => child.kill('SIGKILL')));

async function start(...args: string[]): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(process.execPath, [SOURCE, '--port', '0', ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  running.push(child);
  const [line] = (await once(child.stdout!, 'data')) as [Buffer];
  return { child, port: (JSON.parse(line.toString()) as { port: number }).port };
}

const text = (value: string) => Buffer.concat([Buffer.from([value.length >> 8, value.length & 255]), Buffer.from(value)]);
const packet = (type: number, ...parts: Buffer[]) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([type, body.length]), body]);
};

/** One client: sends packets and waits for one of a type. */
class Mqtt {
  #socket: Socket;
  #bytes = Buffer.alloc(0);
  #waiting: (() => void) | null = null;
  constructor(port: number) {
    this.#socket = connect(port, '127.0.0.1');
    this.#socket.on('data', (data) => {
      this.#bytes = Buffer.concat([this.#bytes, data]);
      this.#waiting?.();
    });
    this.#socket.on('error', () => {});
  }
  async join(id: string, clean: boolean, login?: [string, string]): Promise<Buffer> {
    const flags = (clean ? 2 : 0) | (login ? 0xc0 : 0);
    this.send(packet(0x10, text('MQTT'), Buffer.from([4, flags, 0, 60]), text(id), ...(login ? login.map(text) : [])));
    return this.next(2);
  }
  subscribe(topic: string): Promise<Buffer> {
    this.send(packet(0x82, Buffer.from([0, 1]), text(topic), Buffer.from([1])));
    return this.next(9);
  }
  publish(topic: string, payload: string, retain = false): Promise<Buffer> {
    this.send(packet(0x32 | (retain ? 1 : 0), text(topic), Buffer.from([0, 7]), Buffer.from(payload)));
    return this.next(4);
  }
  send(data: Buffer): void {
    this.#socket.write(data);
  }
  /** The next packet of a type; others before it are dropped. */
  async next(type: number): Promise<Buffer> {
    for (;;) {
      while (this.#bytes.length >= 2 && this.#bytes.length >= 2 + this.#bytes[1]!) {
        const length = 2 + this.#bytes[1]!;
        const taken = this.#bytes.subarray(0, length);
        this.#bytes = this.#bytes.subarray(length);
        if (taken[0]! >> 4 === type) return taken;
      }
      await new Promise<void>((resolve) => (this.#waiting = resolve));
    }
  }
  end(): Promise<unknown> {
    const closed = once(this.#socket, 'close');
    this.#socket.destroy();
    return closed;
  }
}

describe('demo broker', { timeout: 30_000 }, () => {
  it('delivers QoS 1, keeps retained messages and what a persistent session has missed', async () => {
    const { child, port } = await start();
    const reader = new Mqtt(port);
    assert.equal((await reader.join('reader', false))[3], 0);
    await reader.subscribe('ioc/v1/#');
    const writer = new Mqtt(port);
    await writer.join('writer', true);
    await writer.publish('ioc/v1/disaster/lao_cai/water_level', '84.2', true);
    const first = await reader.next(3);
    assert.match(first.toString(), /water_level.*84\.2/s);
    const at = 4 + first.readUInt16BE(2);
    reader.send(packet(0x40, first.subarray(at, at + 2)));
    await reader.end();
    await writer.publish('ioc/v1/disaster/lao_cai/water_level', '84.3');
    const again = new Mqtt(port);
    const connack = await again.join('reader', false);
    assert.equal(connack[2], 1, 'the session is present');
    assert.match((await again.next(3)).toString(), /84\.3/);
    const late = new Mqtt(port);
    await late.join('late', true);
    await late.subscribe('ioc/v1/#');
    assert.match((await late.next(3)).toString(), /84\.2/);
    child.kill('SIGTERM');
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  });

  it('lets in nobody without the password it was given', async () => {
    const { child, port } = await start('--user', 'u', '--password', 'p');
    assert.equal((await new Mqtt(port).join('a', true, ['u', 'p']))[3], 0);
    assert.notEqual((await new Mqtt(port).join('b', true, ['u', 'x']))[3], 0);
    assert.notEqual((await new Mqtt(port).join('c', true))[3], 0);
    child.stdin!.end();
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  });

  it('exits with 3 when the port is taken', async () => {
    const { port } = await start();
    const child = spawn(process.execPath, [SOURCE, '--port', String(port)], { stdio: ['pipe', 'ignore', 'ignore'] });
    running.push(child);
    assert.deepEqual(await once(child, 'exit'), [3, null]);
  });
});
