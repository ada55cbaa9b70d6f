// The real `Env` of the protocol client: the browser's websocket, timers and clock.
import type { Env } from './client.ts';

export function browserEnv(draw: () => void): Env {
  return {
    now: () => performance.now(),
    wall: () => Date.now(),
    random: () => Math.random(),
    after: (ms, run) => {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    drawn: (run) => {
      const done = () => {
        draw();
        run();
      };
      // A hidden page is given no animation frames; it still has to keep up.
      if (document.hidden) setTimeout(done, 250);
      else requestAnimationFrame(done);
    },
    connect: (events) => {
      const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
      const socket = new WebSocket(`${scheme}://${location.host}/ws/v1`, 'ioc.v1');
      socket.onopen = () => events.open();
      socket.onmessage = (event: MessageEvent<string>) => events.message(event.data);
      socket.onclose = (event) => events.close(event.code);
      return {
        send: (text) => {
          if (socket.readyState === WebSocket.OPEN) socket.send(text);
        },
        close: () => socket.close(),
      };
    },
  };
}
