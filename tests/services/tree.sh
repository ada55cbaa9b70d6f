#!/usr/bin/env bash
# Unpacks programs of another Debian suite beside the host's: no chroot, no change of the system. A private apt root
# resolves and fetches, dpkg-deb unpacks, and each program becomes a wrapper that calls the suite's own ld.so.
# The mirror is the one that the host's apt is set to.
# usage: tree.sh SUITE DEST PACKAGE...   DEST is absolute, and open to the user that the services run as.
set -euo pipefail
suite=$1 dest=$2
shift 2
want="1 $suite $(dpkg --print-architecture) $*"
mkdir -p "$(dirname "$dest")"
exec 9>"$dest.lock"
flock 9
[ "$(cat "$dest/.done" 2>/dev/null)" = "$want" ] && exit 0
rm -rf "$dest"
mkdir -p "$dest"

mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
  awk '/^URIs:/ {print $2; exit} /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}' || true)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -n "$mirror" ] || { echo "apt names no mirror" >&2; exit 1; }
[ -r "$keyring" ] || { echo "no $keyring: not a Debian" >&2; exit 1; }

apt=$dest/.apt
mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,etc/preferences.d,etc/apt.conf.d,etc/sources.list.d,etc/trusted.gpg.d,debs}
: >"$apt/status"
echo "deb [check-valid-until=no signed-by=$keyring] $mirror $suite main" >"$apt/etc/sources.list"
# What the host's apt needs to reach its mirror (a proxy, say) counts here too.
cat /etc/apt/apt.conf.d/*proxy* >"$apt/apt.conf" 2>/dev/null || true
cat >>"$apt/apt.conf" <<EOF
Dir "$apt";
Dir::Etc "$apt/etc";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Log "$apt";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::GzipIndexes "true";
EOF
export APT_CONFIG=$apt/apt.conf
apt-get -qq update >&2

# Left out: what only maintainer scripts, Perl helpers or the JIT (130 MB of LLVM) need.
skip='^(perl|libperl|libjson-perl|libio-pty|libipc-run|libtext-|libgdbm|libllvm|libz3|locales|libc-l10n|debconf|libdebconf|adduser|passwd|base-passwd|login|sysvinit-utils|init-system-helpers|ssl-cert|openssl$|ucf|sensible-utils|procps|libproc2|netbase|gcc-[0-9]+-base|libsemanage|libsepol|libpam-modules|postgresql-common|postgresql-client-common|readline-common|libaudit-common|libdb5|libsasl2-modules|systemd|dpkg|tar$|coreutils|bash$|findutils)'
mapfile -t packages < <(apt-get install -s "$@" | awk '/^Inst / {print $2}' | grep -Ev "$skip")
(cd "$apt/debs" && apt-get -qq download "${packages[@]}" >&2)
for deb in "$apt"/debs/*.deb; do dpkg-deb -x "$deb" "$dest"; done
rm -rf "$apt" "$dest"/usr/share/{doc,man,lintian,locale,gdb,gcc,bug} \
  "$dest"/usr/lib/postgresql/*/lib/{bitcode,llvmjit*} "$dest"/usr/lib/*/gconv

loader=$(find "$dest/usr/lib" -name 'ld-linux*.so.*' -type f | head -n 1)
lib=$(dirname "$loader")
PATH=$PATH:/usr/sbin:/sbin ldconfig -n "$lib" # the links that a package leaves to ldconfig
# initdb calls its neighbours by path, so the wrappers bear the programs' names.
for program in "$dest"/usr/lib/postgresql/*/bin/* "$dest"/usr/{s,}bin/*; do
  [ -f "$program" ] && [ ! -L "$program" ] && [ "$(head -c4 "$program" | tail -c3)" = ELF ] || continue
  mv "$program" "$program.real"
  printf '#!/bin/sh\nexec %s --library-path %s --argv0 "$0" "$0.real" "$@"\n' "$loader" "$lib" >"$program"
  chmod 755 "$program"
done
chmod 755 "$dest"
printf '%s' "$want" >"$dest/.done"
