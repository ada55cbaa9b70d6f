// The two pages, built into the Python package. The server serves the folder under /static/<version>/.
import { readFileSync } from 'node:fs';
import { defineConfig, type Plugin } from 'vite';

const root = import.meta.dirname;
const version = /__version__ = "([^"]+)"/.exec(readFileSync(`${root}/../ioc/__init__.py`, 'utf8'))?.[1];
if (!version) throw new Error('no __version__ in ioc/__init__.py');

/** The font travels with its licence (SIL OFL 1.1), as the modules do with theirs in licenses.md. */
const fontLicence: Plugin = {
  name: 'font-licence',
  generateBundle() {
    const source = readFileSync(`${root}/node_modules/@fontsource-variable/inter/LICENSE`, 'utf8');
    this.emitFile({ type: 'asset', fileName: 'licenses-inter.txt', source });
  },
};

export default defineConfig({
  root,
  plugins: [fontLicence],
  base: `/static/${version}/`,
  build: {
    outDir: '../ioc/wall/static',
    emptyOutDir: true,
    target: 'es2022',
    // The pages run under default-src 'none': nothing may be inlined, fonts come from 'self' only.
    assetsInlineLimit: 0,
    license: { fileName: 'licenses.md' },
    modulePreload: { polyfill: false },
    rollupOptions: { input: { wall: `${root}/wall.html`, console: `${root}/console.html` } },
  },
});
