/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The emulated entropy source's option on the native_sim command line: owns its syntax and refusals. It is read before
 * the boot; a bad one ends the program.
 */
#include <stdlib.h>
#include <string.h>

#include <cmdline.h>
#include <posix_native_task.h>
#include <sensor_device/emulated_entropy.h>
#include <zephyr/arch/posix/posix_trace.h>
#include <zephyr/sys/util.h>

static const char *const fault_names[] = {
	[EMULATED_ENTROPY_FAULT_NONE] = "none",
	[EMULATED_ENTROPY_FAULT_STUCK] = "stuck",
	[EMULATED_ENTROPY_FAULT_BIASED] = "biased",
	[EMULATED_ENTROPY_FAULT_NO_ANSWER] = "no-answer",
};

static void fault_option(char *argv, int offset)
{
	const char *value = &argv[offset];
	const char *comma = strchr(value, ',');
	size_t len = comma == NULL ? strlen(value) : (size_t)(comma - value);
	unsigned long after = 0;

	if (comma != NULL) {
		char *end;

		after = strtoul(comma + 1, &end, 10);
		if (comma[1] < '0' || comma[1] > '9' || *end != '\0' || after > INT32_MAX) {
			posix_print_error_and_exit("%s: after the comma comes a number of bytes\n", argv);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(fault_names); i++) {
		if (strlen(fault_names[i]) == len && strncmp(value, fault_names[i], len) == 0) {
			emulated_entropy_set_fault_after((enum emulated_entropy_fault)i, after);
			return;
		}
	}
	posix_print_error_and_exit("%s: no such fault. Use none, stuck, biased or no-answer\n", argv);
}

static void add_option(void)
{
	static struct args_struct_t options[] = {
		{
			.option = "entropy-fault",
			.name = "fault[,bytes]",
			.type = 's',
			.call_when_found = fault_option,
			.descript = "Break the emulated entropy source: none, stuck, biased or no-answer; with a number, "
				    "after it has given that many good bytes",
		},
		ARG_TABLE_ENDMARKER,
	};

	native_add_command_line_opts(options);
}

NATIVE_TASK(add_option, PRE_BOOT_1, 20);
