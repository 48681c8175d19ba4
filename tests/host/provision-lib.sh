# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the tests of lamina guest provision share, beside tests/lib.sh.

# A program of Linux as far as it is looked at: static, for machine NUMBER (default: x86-64), or
# loaded by LOADER.
new_program() { # FILE [NUMBER [LOADER]]
	local loader=${3:-} kind=1
	[ -z "$loader" ] || kind=3
	{
		printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0'
		# shellcheck disable=SC2059
		printf "\\x$(printf %x "${2:-62}")\\0\\1\\0\\0\\0"
		head -c 8 /dev/zero
		printf '\100'	# the segments are behind these 64 bytes
		head -c 19 /dev/zero
		printf '\100\0\70\0\1\0\0\0\0\0\0\0'
		# shellcheck disable=SC2059
		printf "\\$kind\\0\\0\\0\\0\\0\\0\\0\\170"
		head -c 23 /dev/zero
		# shellcheck disable=SC2059
		printf "\\x$(printf %x $((${#loader} + 1)))"
		head -c 23 /dev/zero
		printf '%s\0' "$loader"
		printf 'Usage: lamina-agent [OPTION]...\n'
	} >"$1"
}
