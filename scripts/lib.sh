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
export SCRIPTS_APT_UPDATED=${SCRIPTS_APT_UPDATED:-}

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
    if [ -z "$SCRIPTS_APT_UPDATED" ]; then
        # Fails when any one of the owner's sources does, though ours may be there all the same.
        apt_get update >"$log" 2>&1 || say "apt-get update failed: trying with the lists that are there"
        SCRIPTS_APT_UPDATED=1
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

# Ubuntu 22.04 has 4.4. The first line is `ffmpeg version 5.1.9-0+deb12u1 Copyright …`; a build from
# git has no such number and is taken for a new one.
need_ffmpeg() {
    local version
    version=$(ffmpeg -version | sed -n '1s/^ffmpeg version n\{0,1\}\([0-9]*\.[0-9]*\).*/\1/p')
    [ -z "$version" ] && return
    printf '5.1\n%s\n' "$version" | sort --version-sort --check=quiet ||
        fail "ffmpeg $version is too old: put ffmpeg and ffprobe 5.1 or newer on the PATH, then try again"
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

includes() {
    echo "#include <$1>" | cc -E -
}

# What the backends of a cluster are built with: librdkafka is C, and speaks TLS by OpenSSL.
want_cluster_build() {
    want g++ has c++
    want make has make
    want pkg-config has pkg-config
    want libssl-dev includes openssl/ssl.h
    want zlib1g-dev includes zlib.h
}

# Whether apt could install a package.
apt_offers() {
    has apt-get >/dev/null || return 1
    if [ -z "$(apt-cache madison "$1" 2>/dev/null)" ] && [ -z "$SCRIPTS_APT_UPDATED" ]; then
        apt_get update >/dev/null 2>&1 || true
        SCRIPTS_APT_UPDATED=1
    fi
    [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]
}

# shellcheck disable=SC2034 # for the scripts that source this
readonly NO_BROWSER="there is no \`chromium\`, and apt has none to install (Ubuntu has it as a snap only)"

# The path of Chromium; nothing where there is none.
browser() {
    printf '%s\n' "${CHROMIUM:-$(has chromium || true)}"
}

has_browser() {
    [ -n "$(browser)" ]
}

# A browser, what drives it, and a second opinion on files. Where no browser can be had, the others.
want_playback() {
    want mediainfo has mediainfo
    want nodejs has node
    want npm has npm
    if ! has_browser && apt_offers chromium; then
        missing+=(chromium)
    fi
}

# ---- a clip to be played ----

readonly CLIP_SECONDS=20 CLIP_RATE=30000/1001 CLIP_BITS=10
# What testing/playback/play.mjs must know of it.
# shellcheck disable=SC2034,SC2054 # for the scripts that source this; the commas are meant
readonly CLIP=(--rate "$CLIP_RATE" --bits "$CLIP_BITS" --tones 440,990)

# Two audio tracks, told apart by their pitch, and every frame's number drawn into it as a row of
# black and white boxes: the browser's picture can be compared with the time it claims to show.
make_clip() {
    local boxes='drawbox=x=0:y=ih*0.9:w=iw:h=ih*0.1:color=black:t=fill' bit
    for ((bit = 0; bit < CLIP_BITS; bit++)); do
        boxes+=",drawbox=x=iw*$bit/$CLIP_BITS:y=ih*0.9:w=iw/$CLIP_BITS:h=ih*0.1:color=white:t=fill"
        boxes+=":enable='gte(mod(n,$((2 ** (bit + 1)))),$((2 ** bit)))'"
    done
    ffmpeg -v error -y \
        -f lavfi -i "testsrc2=size=1920x1080:rate=$CLIP_RATE:duration=$CLIP_SECONDS,$boxes" \
        -f lavfi -i "sine=frequency=440:beep_factor=3:sample_rate=48000:duration=$CLIP_SECONDS" \
        -f lavfi -i "sine=frequency=990:beep_factor=3:sample_rate=48000:duration=$CLIP_SECONDS" \
        -map 0 -map 1 -map 2 -c:v libx264 -preset ultrafast -bf 2 -g 75 -pix_fmt yuv420p \
        -c:a aac -ac 2 -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu \
        "$1" </dev/null
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

# Where rustup puts cargo. Only a new login shell has it on its PATH, and not ahead of the system's.
cargo_home_first() {
    local bin=${CARGO_HOME:-$HOME/.cargo}/bin
    if ! rust_is_new_enough && [ -x "$bin/cargo" ]; then
        PATH=$bin:$PATH
    fi
}

# Makes sure of cargo. Called in the workspace's folder.
need_rust() {
    cargo_home_first
    rust_is_new_enough && return
    local advice
    advice="Rust $(rust_version) or newer is needed: get it from https://rustup.rs, then try again"
    if ! has rustup >/dev/null; then
        has apt-get >/dev/null || fail "$advice"
        # Debian 13 and Ubuntu 24.04 have it. Where cargo came from apt, it would be pushed out.
        if ! has cargo >/dev/null && apt_offers rustup; then
            say "installing rustup"
            apt_install rustup
        else
            install_rustup || fail "the installer of rustup failed. $advice"
        fi
    fi
    say "installing the current stable Rust"
    rustup toolchain install stable --profile minimal >&2 || fail "rustup cannot install it. $advice"
    # For this run alone: which toolchain is the default stays as it was.
    export RUSTUP_TOOLCHAIN=stable
    rust_is_new_enough || fail "$advice"
}

# The official way, for releases without the package. A cargo of apt's stays as it is.
install_rustup() {
    local installer code=0
    want ca-certificates has_certificates
    want curl has curl
    install_missing
    say "installing rustup from https://sh.rustup.rs into ${CARGO_HOME:-$HOME/.cargo}; your shell's settings stay as they are"
    installer=$(mktemp)
    curl --proto '=https' --tlsv1.2 --silent --show-error --fail --output "$installer" https://sh.rustup.rs &&
        RUSTUP_INIT_SKIP_PATH_CHECK=yes sh "$installer" -y --profile minimal --no-modify-path >&2 ||
        code=1
    rm -f "$installer"
    cargo_home_first
    return "$code"
}

# The folder that cargo builds in, made absolute.
target_folder() {
    local target=${CARGO_TARGET_DIR:-target}
    mkdir -p "$target"
    (cd "$target" && pwd)
}

# build_release OPTION...: the program and those that test it, in one go. One after the other they would
# have features of their own, and most of both would be compiled twice.
build_release() {
    cargo build --release --locked --quiet --package reelmill-cli --package reelmill-testing "$@"
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

# npm_packages FOLDER: as pinned in its lock file; what they would run at their installation is not
# needed. Another script may be about to install them, or use them already.
npm_packages() {
    (
        flock 8
        [ "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ] ||
            npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
    ) 8>"$(target_folder)/npm.lock"
}

# ---- parts with their times, and what they counted ----

part_times=()
failed_parts=0

# part NAME COMMAND...: runs a part, keeps its time and goes on when it fails.
part() {
    local name=$1 began=$SECONDS code=0
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
    count_part "$name" "$code" "$((SECONDS - began))"
}

# count_part NAME CODE SECONDS
count_part() {
    local word=ok
    if [ "$2" -ne 0 ]; then
        word=FAILED
        failed_parts=$((failed_parts + 1))
    fi
    part_times+=("$(printf '%5d s  %-6s  %s' "$3" "$word" "$1")")
}

beside_names=() beside_pids=() beside_logs=() beside_began=()

# beside NAME COMMAND...: begins a part that runs beside those that follow, until `join`. Many of them
# wait more than they work.
beside() {
    local log
    log=$(mktemp)
    beside_names+=("$1") beside_logs+=("$log") beside_began+=("$SECONDS")
    shift
    # In a process group of its own, so that all of it can be ended.
    set -m
    (
        set -e
        trap 'echo "$SECONDS" >"$log.end"' EXIT
        "$@"
    ) >"$log" 2>&1 </dev/null &
    set +m
    beside_pids+=("$!")
    trap end_beside EXIT
}

# idly COMMAND...: runs it with what others leave of the processors.
idly() {
    renice -n 19 "$BASHPID" >/dev/null
    "$@"
}

end_beside() {
    local pid
    for pid in "${beside_pids[@]}"; do
        kill -- "-$pid" 2>/dev/null || true
    done
}

# join: waits for the parts beside and says what they said.
join() {
    local at code ended
    for at in "${!beside_pids[@]}"; do
        code=0
        wait "${beside_pids[at]}" || code=$?
        ended=$SECONDS
        say "" "==> ${beside_names[at]}"
        cat "${beside_logs[at]}"
        read -r ended <"${beside_logs[at]}.end" || true
        rm -f "${beside_logs[at]}" "${beside_logs[at]}.end"
        count_part "${beside_names[at]}, beside others" "$code" "$((ended - beside_began[at]))"
    done
    trap - EXIT
    beside_names=() beside_pids=() beside_logs=() beside_began=()
}

print_parts() {
    printf '%s\n' "${part_times[@]}"
    printf '%5d s  in all\n' "$SECONDS"
}
