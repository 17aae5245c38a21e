# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# What the project's own scripts share: saying things, installing packages, building. Sourced by
# bash scripts that have set `root` to the project's folder.

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# What it takes to build, and to run the demo.
packages_build=(gcc libc6-dev meson ninja-build pkg-config python3
    protobuf-compiler protobuf-c-compiler libprotobuf-dev libprotobuf-c-dev
    libuv1-dev libssl-dev libnghttp2-dev zlib1g-dev libp11-kit-dev libsqlite3-dev
    libseccomp-dev libconfuse-dev libjansson-dev libcurl4-openssl-dev libgfshare-dev uthash-dev
    libmimalloc-dev)
packages_run=(softhsm2 openssl)
# What tools/bench needs on top.
packages_bench=(python3 procps nghttp2-client python3-protobuf python3-cryptography)
# The yardstick of its gRPC part, which says so where it is missing.
packages_bench_optional=(libgrpc++-dev protobuf-compiler-grpc)
# What the tests need on top.
packages_test=(libnss3 p11-kit-modules check clang clang-format llvm valgrind pmccabe mandoc procps git g++ spin
    python3-grpcio python3-protobuf python3-h2 python3-cryptography)
# Other people's gRPC; what needs them is skipped, and says so, where the release has them not.
packages_optional=(ruby-grpc ruby-googleauth)
# Node from elsewhere brings its own npm, which the release's package would drive out.
command -v npm >/dev/null || packages_optional+=(nodejs npm)

# Installs those of the named packages that are missing.
install_packages() {
    local missing=() package sudo=()
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null || die "missing ${missing[*]}, and there is no apt-get here"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "missing ${missing[*]}; run as root, or install sudo"
        sudo=(sudo)
    fi
    say "installing with apt: ${missing[*]}"
    {
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q update &&
            "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y \
                --no-install-recommends "${missing[@]}"
    } >"$root/apt.log" 2>&1 || {
        tail -n 20 "$root/apt.log" >&2
        die "apt-get failed; the whole of what it said is in $root/apt.log"
    }
    rm -f "$root/apt.log"
}

# As far as apt knows them and can get them.
install_optional() {
    local package known=()
    command -v apt-cache >/dev/null || return 0
    for package in "$@"; do
        apt-cache show "$package" >/dev/null 2>&1 && known+=("$package")
    done
    (install_packages "${known[@]}") || say "going on without: ${known[*]}"
}

# The release's backports, taken from where the machine takes the release itself; in files of this
# function's own, so that nothing stays configured. Fails when there are none to be had.
install_backport() {
    local package=$1 release dir sudo=() options status=0
    release=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    [ -n "$release" ] || return 1
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null || return 1; sudo=(sudo); }
    dir=$(mktemp -d) || return 1
    mkdir -p "$dir/parts" "$dir/lists/partial"
    # Both forms of sources: paragraphs ("Suites: bookworm …"), and lines ("deb URI bookworm …").
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
        awk -v r="$release" 'BEGIN { RS = ""; ORS = "\n\n" } $0 ~ "\nSuites:[^\n]* ?" r "( |\n)" {
            gsub(/\nSuites:[^\n]*/, "\nSuites: " r "-backports"); print }' \
            >"$dir/parts/backports.sources"
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -nE "s/^(deb .*) $release( .*)/\\1 $release-backports\\2/p" >"$dir/sources.list"
    options=(-q -o "Dir::Etc::sourcelist=$dir/sources.list" -o "Dir::Etc::sourceparts=$dir/parts"
        -o "Dir::State::lists=$dir/lists" -o "APT::Sandbox::User=root")
    {
        "${sudo[@]}" apt-get "${options[@]}" update &&
            "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install -y \
                --no-install-recommends "$package"
    } >"$dir/log" 2>&1 || status=$?
    "${sudo[@]}" rm -rf "$dir"
    return $status
}

# The provider through which OpenSSL uses a token's keys. Debian 12 has it in its backports.
install_pkcs11_provider() {
    local package=pkcs11-provider
    dpkg-query -W -f='${db:Status-Status}\n' $package 2>/dev/null | grep -qx installed && return 0
    command -v apt-get >/dev/null || return 0
    if apt-cache show $package >/dev/null 2>&1; then
        install_optional $package
    else
        say "installing from backports: $package"
        install_backport $package ||
            say "going on without $package: documents are signed with key files only, and the tests" \
                "that need it are skipped"
    fi
}

# build_tree DIR [meson setup options...]: configures once, then builds what has changed.
build_tree() {
    local dir=$1 log
    shift
    log=$dir.log
    if [ ! -f "$dir/build.ninja" ]; then
        rm -rf "$dir"
        meson setup "$dir" "$root" "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "meson failed"; }
    fi
    ninja -C "$dir" >"$log" 2>&1 || { tail -n 40 "$log" >&2; die "the build failed; see $log"; }
}

# seconds since $1, a value of `now`, with one digit
now() { date +%s%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", (b - a) / 1e9 }'; }
