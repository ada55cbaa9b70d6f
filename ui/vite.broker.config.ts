// The demo broker: aedes and all it needs in one file that Node runs without node_modules.
import { renameSync } from 'node:fs';
import { defineConfig, type Plugin } from 'vite';

const root = import.meta.dirname;

/** The licences of what is bundled lie with those of the screens, so that ioc/demo holds one built file only. */
const licences: Plugin = {
  name: 'licences-to-screens',
  closeBundle: {
    order: 'post',
    handler: () => renameSync(`${root}/../ioc/demo/broker-licenses.md`, `${root}/../ioc/wall/static/licenses-broker.md`),
  },
};

export default defineConfig({
  root,
  plugins: [licences],
  publicDir: false,
  ssr: { noExternal: true },
  build: {
    ssr: `${root}/broker/broker.ts`,
    outDir: '../ioc/demo',
    emptyOutDir: false,
    target: 'node22',
    minify: true,
    license: { fileName: 'broker-licenses.md' },
    rollupOptions: { output: { entryFileNames: 'broker.mjs', codeSplitting: false } },
  },
});
