/*
 * The key that seals the vault of an emulated board: everybody knows it, so what it seals is no secret, and the build
 * refuses it where it would have to be one (SENSOR_SEALING_KEY_TEST). On native_sim the command line gives another.
 */
#include <errno.h>
#include <string.h>

#include <sensor_device/sealing_key.h>
#include <zephyr/sys/util.h>

static uint8_t test_key[SENSOR_SEALING_KEY_BYTES] = "emulated boards' sealing key";

int sensor_sealing_key(uint8_t key[SENSOR_SEALING_KEY_BYTES])
{
	memcpy(key, test_key, SENSOR_SEALING_KEY_BYTES);
	return 0;
}

#ifdef CONFIG_NATIVE_LIBRARY
#include <cmdline.h>
#include <posix_native_task.h>
#include <zephyr/arch/posix/posix_trace.h>

static void key_option(char *argv, int offset)
{
	const char *text = &argv[offset];

	if (strlen(text) != 2 * sizeof(test_key) ||
	    hex2bin(text, 2 * sizeof(test_key), test_key, sizeof(test_key)) != sizeof(test_key)) {
		posix_print_error_and_exit("%s: the sealing key is 64 digits in hexadecimal\n", argv);
	}
}

static void add_option(void)
{
	static struct args_struct_t options[] = {
		{
			.option = "sealing-key",
			.name = "hex",
			.type = 's',
			.call_when_found = key_option,
			.descript = "Seal the vault with this key (64 hexadecimal digits): another device",
		},
		ARG_TABLE_ENDMARKER,
	};

	native_add_command_line_opts(options);
}

NATIVE_TASK(add_option, PRE_BOOT_1, 30);
#endif
