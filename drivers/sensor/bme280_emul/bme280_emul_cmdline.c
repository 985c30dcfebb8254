/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The BME280 emulator's options on the native_sim command line: owns their syntax and refusals.
 * They apply to every emulated BME280 and are read before the boot; a bad one ends the program.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmdline.h>
#include <posix_native_task.h>
#include <zephyr/arch/posix/posix_trace.h>
#include <zephyr/sys/util.h>

#include "bme280_emul_internal.h"

/** One of the values of --bme280, in hundredths. */
struct field {
	const char *name;
	const char *range;
	int32_t min, max;
};

static const struct field fields[] = {
	{"temperature", "-40 to 85 degC", BME280_EMUL_CENTI_CELSIUS_MIN,
	 BME280_EMUL_CENTI_CELSIUS_MAX},
	{"humidity", "0 to 100 %RH", BME280_EMUL_CENTI_PERCENT_MIN, BME280_EMUL_CENTI_PERCENT_MAX},
	{"pressure", "30000 to 110000 Pa", BME280_EMUL_CENTI_PASCAL_MIN,
	 BME280_EMUL_CENTI_PASCAL_MAX},
};

static const char *const fault_names[] = {
	[BME280_EMUL_FAULT_NONE] = "none",
	[BME280_EMUL_FAULT_NO_ANSWER] = "no-answer",
	[BME280_EMUL_FAULT_BAD_ID] = "bad-id",
	[BME280_EMUL_FAULT_STUCK_BUSY] = "stuck-busy",
};

/**
 * Read [-]digits[.d[d]] up to a comma or the end, as hundredths.
 *
 * @return Where it stopped, NULL if that is no such number. Numbers far out of any range stay so.
 */
static const char *read_hundredths(const char *text, int32_t *hundredths)
{
	const int32_t enough = 100000000;
	bool negative = *text == '-';
	int32_t value = 0;
	int32_t weight = 10;
	const char *digits;

	text += negative ? 1 : 0;
	for (digits = text; *text >= '0' && *text <= '9'; text++) {
		value = MIN(value * 10 + (*text - '0'), enough / 10);
	}
	if (text == digits) {
		return NULL;
	}
	value *= 100;
	if (*text == '.') {
		text++;
		for (digits = text; *text >= '0' && *text <= '9' && weight > 0; text++) {
			value += (*text - '0') * weight;
			weight /= 10;
		}
		if (text == digits) {
			return NULL;
		}
	}
	*hundredths = negative ? -value : value;
	return *text == ',' || *text == '\0' ? text : NULL;
}

static void sample_option(char *argv, int offset)
{
	const char *text = &argv[offset];
	int32_t values[ARRAY_SIZE(fields)];

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		bool last = i == ARRAY_SIZE(fields) - 1;

		text = read_hundredths(text, &values[i]);
		if (text == NULL) {
			posix_print_error_and_exit("'%s': the %s is not a number with at most two "
						   "decimals. Write --bme280=<degC>,<%%RH>,<Pa>, "
						   "for example --bme280=21.5,45,101325\n",
						   argv, fields[i].name);
		}
		if (!IN_RANGE(values[i], fields[i].min, fields[i].max)) {
			posix_print_error_and_exit("'%s': the %s is out of range (%s)\n", argv,
						   fields[i].name, fields[i].range);
		}
		if (last != (*text == '\0')) {
			posix_print_error_and_exit("'%s' does not have three values. Write "
						   "--bme280=<degC>,<%%RH>,<Pa>, for example "
						   "--bme280=21.5,45,101325\n",
						   argv);
		}
		text++;
	}

	bme280_emul_boot.sample = (struct bme280_emul_sample){
		.centi_celsius = values[0],
		.centi_percent = values[1],
		.centi_pascal = values[2],
	};
}

static void fault_option(char *argv, int offset)
{
	for (size_t i = 0; i < ARRAY_SIZE(fault_names); i++) {
		if (strcmp(&argv[offset], fault_names[i]) == 0) {
			bme280_emul_boot.fault = (enum bme280_emul_fault)i;
			return;
		}
	}
	posix_print_error_and_exit("'%s': no such fault. Use none, no-answer, bad-id or "
				   "stuck-busy\n",
				   argv);
}

static void add_options(void)
{
	static struct args_struct_t options[] = {
		{.option = "bme280",
		 .name = "degC,%RH,Pa",
		 .type = 's',
		 .call_when_found = sample_option,
		 .descript = "What the emulated BME280 measures: -40 to 85 degC, 0 to 100 %RH, "
			     "30000 to 110000 Pa, at most two decimals each. "
			     "By default 25,50,101325"},
		{.is_switch = true,
		 .option = "bme280-drift",
		 .type = 'b',
		 .dest = &bme280_emul_boot.drift,
		 .descript = "Let these values wander slowly, the same way in every run: +-0.5 "
			     "degC in 300 s, +-2 %RH in 420 s, +-50 Pa in 660 s"},
		{.option = "bme280-fault",
		 .name = "fault",
		 .type = 's',
		 .call_when_found = fault_option,
		 .descript = "Break the emulated BME280: no-answer (every transfer fails), bad-id "
			     "(not a BME280), stuck-busy (no measurement ends) or none (default)"},
		ARG_TABLE_ENDMARKER,
	};

	native_add_command_line_opts(options);
}

NATIVE_TASK(add_options, PRE_BOOT_1, 10);
