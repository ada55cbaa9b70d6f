// The MQTT broker of the demonstration: aedes on one port, all in memory.
//
//   node broker.mjs --host 127.0.0.1 --port 1883 [--user u --password p]
//
// Prints {"port":n} once it listens. Exits 3 if the port is taken, 2 on bad arguments, and 0 on SIGTERM, SIGINT or
// when stdin closes: a broker must never outlive the process that started it.
import { createServer, type Socket } from 'node:net';
import { timingSafeEqual, createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Aedes } from 'aedes';

const PORT_TAKEN = 3;

function options() {
  try {
    const { values } = parseArgs({
      options: {
        host: { type: 'string', default: '127.0.0.1' },
        port: { type: 'string', default: '1883' },
        user: { type: 'string' },
        password: { type: 'string' },
      },
    });
    const port = Number(values.port);
    if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Error(`--port ${values.port}: not a port`);
    if ((values.user === undefined) !== (values.password === undefined)) {
      throw new Error('--user and --password go together');
    }
    return { ...values, port };
  } catch (error) {
    console.error(`broker: ${(error as Error).message}`);
    return process.exit(2);
  }
}

const { host, port, user, password } = options();
const digest = (text: string | Buffer | undefined) => createHash('sha256').update(text ?? '').digest();

const broker = await Aedes.createBroker({ concurrency: 1000, queueLimit: 100_000 });
if (user !== undefined) {
  const wanted = [digest(user), digest(password)] as const;
  broker.authenticate = (_client, name, secret, done) => {
    const same = timingSafeEqual(digest(name), wanted[0]) && timingSafeEqual(digest(secret), wanted[1]);
    done(null, same);
  };
}

const sockets = new Set<Socket>();
const server = createServer((socket) => {
  sockets.add(socket);
  socket.setNoDelay(true);
  socket.on('close', () => sockets.delete(socket));
  broker.handle(socket);
});

server.on('error', (error: NodeJS.ErrnoException) => {
  console.error(`broker: ${error.message}`);
  process.exit(error.code === 'EADDRINUSE' ? PORT_TAKEN : 1);
});

let stopping = false;
function stop() {
  if (stopping) return;
  stopping = true;
  server.close();
  broker.close(() => process.exit(0));
  for (const socket of sockets) socket.destroy();
  setTimeout(() => process.exit(0), 1000).unref();
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, stop);
process.stdin.on('end', stop).on('close', stop).on('error', stop).resume();

server.listen(port, host, () => {
  const address = server.address();
  const bound = typeof address === 'object' && address ? address.port : port;
  process.stdout.write(`${JSON.stringify({ port: bound })}\n`);
});
