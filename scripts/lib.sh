# shellcheck shell=bash
# What scripts/run, scripts/test, scripts/playback and .ci/run share: getting what is missing.
# Sourced, not run. Everything here is quick and quiet on a machine that has all it needs.

# Words go to standard error: standard output belongs to what a script is for.
say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

# Runs a command as root: as it is, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "not root and no sudo here: run as root \`$*\`"
    fi
}

missing=()
# A flag in the environment, so that scripts called by other scripts know of it.
export REELMILL_APT_UPDATED=${REELMILL_APT_UPDATED:-}

# want PACKAGE COMMAND...: the Debian package is missing when the command fails.
want() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has() {
    command -v "$1"
}

# Installs what `want` found missing, all at once; `apt-get update` runs at most once.
install_missing() {
    [ "${#missing[@]}" -eq 0 ] && return
    if ! has apt-get >/dev/null; then
        fail "not a Debian or Ubuntu: install what these Debian packages hold, then try again: ${missing[*]}"
    fi
    say "installing ${missing[*]}"
    apt_install "${missing[@]}"
    missing=()
}

# apt-get's many lines are shown only when it fails. It waits for another apt-get, and it never
# removes a package to make room for ours: what is on the machine is its owner's.
apt_install() {
    local log
    log=$(mktemp)
    if [ -z "$REELMILL_APT_UPDATED" ]; then
        # Fails when any one of the owner's sources does, though ours may be there all the same.
        apt_get update >"$log" 2>&1 || say "apt-get update failed: trying with the lists that are there"
        REELMILL_APT_UPDATED=1
    fi
    if ! apt_get install --yes --no-install-recommends --no-remove "$@" >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt-get cannot install $*: its words are above"
    fi
    rm -f "$log"
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q "$@" </dev/null
}

# A compiler without the C library's headers cannot build SQLite.
compiles_c() {
    echo '#include <stdio.h>' | cc -E - && has ld
}

has_certificates() {
    # Other systems than Debian's keep theirs elsewhere, and have them.
    ! has apt-get || [ -s /etc/ssl/certs/ca-certificates.crt ]
}

has_ffmpeg() {
    has ffmpeg && has ffprobe
}

makes_venvs() {
    # Debian takes pip's seed out of python3 and puts it into python3-venv.
    python3 -c 'import ensurepip, venv'
}

# What every build and every transcode needs. `libc6-dev` is only a recommendation of `gcc`.
want_basics() {
    want ca-certificates has_certificates
    compiles_c >/dev/null 2>&1 || missing+=(gcc libc6-dev)
    want ffmpeg has_ffmpeg
}

# A browser, what drives it, and a second opinion on files.
want_playback() {
    want mediainfo has mediainfo
    want chromium has chromium
    want nodejs has node
    want npm has npm
}

# ---- Rust ----

# The oldest Rust that the workspace builds with.
rust_version() {
    sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml
}

rust_is_new_enough() {
    local version
    has cargo >/dev/null && version=$(rustc --version 2>/dev/null) || return 1
    version=$(cut -d ' ' -f 2 <<<"$version")
    printf '%s\n%s\n' "$(rust_version)" "${version%%-*}" | sort --version-sort --check=quiet
}

# Makes sure of cargo. Called in the workspace's folder.
need_rust() {
    # rustup puts cargo there, and only a new login shell has it on its PATH.
    if ! has cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    rust_is_new_enough && return
    local advice
    advice="Rust $(rust_version) or newer is needed: get it from https://rustup.rs, then try again"
    if ! has rustup >/dev/null; then
        # Debian 13 and Ubuntu 24.04 have it; where cargo came from apt, rustup would push it out.
        if ! has apt-get >/dev/null || has cargo >/dev/null; then
            fail "$advice"
        fi
        missing=()
        if [ -z "$(apt-cache madison rustup 2>/dev/null)" ] && [ -z "$REELMILL_APT_UPDATED" ]; then
            apt_get update >/dev/null 2>&1 || true
            REELMILL_APT_UPDATED=1
        fi
        [ -n "$(apt-cache madison rustup 2>/dev/null)" ] || fail "$advice"
        say "installing rustup"
        apt_install rustup
    fi
    say "installing the current stable Rust"
    rustup toolchain install stable --profile minimal >&2 || fail "rustup cannot install it. $advice"
    # For this run alone: which toolchain is the default stays as it was.
    export RUSTUP_TOOLCHAIN=stable
    rust_is_new_enough || fail "$advice"
}

# The folder that cargo builds in, made absolute.
target_folder() {
    local target=${CARGO_TARGET_DIR:-target}
    mkdir -p "$target"
    (cd "$target" && pwd)
}

# ---- tools from PyPI ----

# pypi NAME==VERSION...: installs into a virtual environment under the target folder and prints that
# folder. The system's Python stays as it is.
pypi() {
    local venv
    venv=$(target_folder)/venv
    if [ ! -x "$venv/bin/pip" ]; then
        python3 -m venv "$venv"
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
    printf '%s\n' "$venv"
}

# ---- parts with their times, and what they counted ----

part_times=()
failed_parts=0

# part NAME COMMAND...: runs a part, keeps its time and goes on when it fails.
part() {
    local name=$1 began=$SECONDS code=0 took word=ok
    shift
    say "" "==> $name"
    # In a subshell of its own and in no condition: only so does `set -e` work inside the command.
    set +e
    (
        set -e
        "$@"
    )
    code=$?
    set -e
    took=$((SECONDS - began))
    if [ "$code" -ne 0 ]; then
        word=FAILED
        failed_parts=$((failed_parts + 1))
    fi
    part_times+=("$(printf '%5d s  %-6s  %s' "$took" "$word" "$name")")
}

print_parts() {
    printf '%s\n' "${part_times[@]}"
    printf '%5d s  in all\n' "$SECONDS"
}
