/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "src/host/fc.h"

#include "tests/tap.h"

static void check_version(const char *text, int major, int minor, int patch)
{
	struct fc_version version = {-1, -1, -1};

	is_int(fc_parse_version(text, &version), 0, "'%s' is a version", text);
	is_int(version.major, major, "of which %d is the first number", major);
	is_int(version.minor, minor, "and %d the second", minor);
	is_int(version.patch, patch, "and %d the third", patch);
}

static void test_versions(void)
{
	static const char *const bad[] = {
		"", "v", "1", "1.", "1.2", ".2.3", "1..3", "one.two.three", "-1.2.3", "1.-2.3",
		"1.2-dev", "99999.1.1", "1.99999999999999999999.1", " 1.2.3", "vv1.2.3",
	};
	struct fc_version version = {7, 7, 7};

	check_version("1.13.0", 1, 13, 0);
	check_version("v1.4.1", 1, 4, 1);
	check_version("1.17.3-dev", 1, 17, 3);
	check_version("0.25.2-dirty", 0, 25, 2);
	check_version("9999.9999.", 9999, 9999, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		is_int(fc_parse_version(bad[i], &version), -EBADMSG, "'%s' is none", bad[i]);
	is_int(version.major, 7, "and leaves the output alone");
}

static void test_since(void)
{
	const struct fc_version version = {1, 13, 0};

	ok(fc_since(&version, 1, 13), "1.13 has what 1.13 brought");
	ok(fc_since(&version, 1, 7), "and 1.7");
	ok(fc_since(&version, 0, 25), "and 0.25");
	ok(!fc_since(&version, 1, 14), "not what 1.14 did");
	ok(!fc_since(&version, 2, 0), "nor 2.0");
}

static json_t *json(const char *text)
{
	return json_loads(text, 0, NULL);
}

static void check_state(const char *state, enum hyper_state want)
{
	json_t *answer = json_pack("{s:s, s:s, s:s, s:s}", "app_name", "Firecracker", "id", "web",
				   "state", state, "vmm_version", "1.14.0");
	struct hyper_facts facts = {.state = HYPER_OTHER + 1};

	is_int(fc_parse_instance(answer, &facts), 0, "an instance that is '%s'", state);
	is_int(facts.state, want, "is told so");
	is_str(facts.version, "1.14.0", "with its version");
	json_decref(answer);
}

static void test_instance(void)
{
	static const char *const bad[] = {
		"{}", "[]", "7",
		"{\"app_name\":\"nginx\",\"state\":\"Running\",\"vmm_version\":\"1.14.0\"}",
		"{\"state\":\"Running\",\"vmm_version\":\"1.14.0\"}",
		"{\"app_name\":\"Firecracker\",\"vmm_version\":\"1.14.0\"}",
		"{\"app_name\":\"Firecracker\",\"state\":true,\"vmm_version\":\"1.14.0\"}",
		"{\"app_name\":\"Firecracker\",\"state\":\"Running\"}",
		"{\"app_name\":\"Firecracker\",\"state\":\"Running\",\"vmm_version\":\"new\"}",
		"{\"app_name\":\"Firecracker\",\"state\":\"Running\",\"vmm_version\":"
		"\"1.14.0-0123456789012345678901234567890123456789012345678901234567\"}",
	};
	struct hyper_facts facts = {.version = "untouched"};

	check_state("Not started", HYPER_NEW);
	check_state("Running", HYPER_RUNNING);
	check_state("Paused", HYPER_PAUSED);
	check_state("Halted", HYPER_OTHER);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		json_t *answer = json_loads(bad[i], JSON_DECODE_ANY, NULL);

		is_int(fc_parse_instance(answer, &facts), -EBADMSG, "no instance: %s", bad[i]);
		json_decref(answer);
	}
	is_int(fc_parse_instance(NULL, &facts), -EBADMSG, "nor is nothing");
	is_str(facts.version, "untouched", "and the output is left alone");
}

static bool can_diff(const char *text, const char *config)
{
	struct fc_version version;
	struct fc_memory memory;
	json_t *parsed = json(config);
	bool can = fc_parse_version(text, &version) == 0 && fc_parse_memory(parsed, &memory) == 0 &&
		   fc_can_diff(&version, &memory);

	json_decref(parsed);
	return can;
}

static void test_diffs(void)
{
	static const char one[] = "{\"machine-config\":{\"mem_size_mib\":3072,"
				  "\"track_dirty_pages\":true}}";
	static const char two[] = "{\"machine-config\":{\"mem_size_mib\":3074,"
				  "\"track_dirty_pages\":true}}";
	static const char plugged[] = "{\"machine-config\":{\"mem_size_mib\":128,"
				      "\"track_dirty_pages\":true},"
				      "\"memory-hotplug\":{\"total_size_mib\":128}}";

	ok(!can_diff("1.15.0", "{\"machine-config\":{\"mem_size_mib\":128}}"), "not tracked");
	ok(!can_diff("1.8.1", one), "1.8 gets full snapshots");
	ok(can_diff("1.9.0", one), "1.9 diffs");
	ok(can_diff("1.14.0", one), "1.14.0 of 3 GiB");
	ok(!can_diff("1.14.0", two) && !can_diff("1.14.1-dev", two), "not of more, 1.14.1 neither");
	ok(!can_diff("1.14.1", plugged), "nor of memory that is plugged in");
	ok(can_diff("1.14.2", two) && can_diff("1.14.2", plugged), "1.14.2 is mended");
	ok(can_diff("1.15.0", two) && can_diff("2.14.0", two), "and those behind it");
	ok(can_diff("1.13.1", two), "1.13 never did it");
}

static void check_memory(const char *text, uint64_t size, bool tracked)
{
	struct fc_memory memory = {0};
	json_t *config = json(text);

	is_int(fc_parse_memory(config, &memory), 0, "memory of %s", text);
	ok(memory.size == size, "is %llu bytes", (unsigned long long)size);
	ok(memory.tracked == tracked, "%s", tracked ? "tracked" : "not tracked");
	json_decref(config);
}

static void test_memory(void)
{
	static const char *const bad[] = {
		"{}", "{\"machine-config\":{}}", "{\"machine-config\":{\"mem_size_mib\":0}}",
		"{\"machine-config\":{\"mem_size_mib\":-1}}",
		"{\"machine-config\":{\"mem_size_mib\":128.5}}",
		"{\"machine-config\":{\"mem_size_mib\":\"128\"}}",
		"{\"machine-config\":{\"mem_size_mib\":9007199254740993}}",
		"{\"machine-config\":{\"mem_size_mib\":1},\"memory-hotplug\":"
		"{\"total_size_mib\":-1}}",
		"{\"machine-config\":{\"mem_size_mib\":1},\"memory-hotplug\":"
		"{\"total_size_mib\":{}}}",
	};
	struct fc_memory memory = {.size = 7};

	check_memory("{\"machine-config\":{\"mem_size_mib\":128}}", 128 << 20, false);
	check_memory("{\"machine-config\":{\"mem_size_mib\":3,\"track_dirty_pages\":true}}",
		     3 << 20, true);
	check_memory("{\"machine-config\":{\"mem_size_mib\":1,\"track_dirty_pages\":\"yes\"}}",
		     1 << 20, false);
	check_memory("{\"machine-config\":{\"mem_size_mib\":4194304}}", UINT64_C(4) << 40, false);
	check_memory("{\"machine-config\":{\"mem_size_mib\":1},\"memory-hotplug\":null}", 1 << 20,
		     false);
	check_memory("{\"machine-config\":{\"mem_size_mib\":1},\"memory-hotplug\":"
		     "{\"total_size_mib\":2}}", 3 << 20, false);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		json_t *config = json(bad[i]);

		is_int(fc_parse_memory(config, &memory), -EBADMSG, "no memory: %s", bad[i]);
		json_decref(config);
	}
	ok(memory.size == 7, "and the output is left alone");
}

static void test_hinting(void)
{
	static const struct {
		const char *text;
		int want;
	} cases[] = {
		{"{\"host_cmd\":2,\"guest_cmd\":null}", 0},
		{"{\"host_cmd\":2,\"guest_cmd\":2}", 0},
		{"{\"host_cmd\":1,\"guest_cmd\":0}", 1},
		{"{\"host_cmd\":0}", 1},
		/* The guest's last word is of the run before. */
		{"{\"host_cmd\":3,\"guest_cmd\":0}", 0},
		{"{\"host_cmd\":4294967295,\"guest_cmd\":0}", 0},
		{"{\"host_cmd\":-1}", -EBADMSG},
		{"{\"host_cmd\":\"2\"}", -EBADMSG},
		{"{\"guest_cmd\":0}", -EBADMSG},
		{"[]", -EBADMSG},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *status = json(cases[i].text);

		is_int(fc_parse_hinting(status), cases[i].want, "hinting: %s", cases[i].text);
		json_decref(status);
	}
}

int main(void)
{
	test_versions();
	test_since();
	test_instance();
	test_memory();
	test_diffs();
	test_hinting();
	return tap_done();
}
