/*
 * Public keys from the command line of native_sim (--factory-key=FILE, --image-key=FILE), in place of those that the
 * firmware was built with. Owns the options; what the files say is Rust's. For simulated devices only.
 */
#include <stddef.h>
#include <stdint.h>

#include <zephyr/sys/util.h>

#include "shim.h"

#ifdef CONFIG_NATIVE_LIBRARY
#include <cmdline.h>
#include <nsi_host_trampolines.h>
#include <posix_native_task.h>
#include <zephyr/arch/posix/posix_trace.h>

static char *factory_path;
static char *image_path;

size_t shim_key_file(enum shim_key key, uint8_t *data, size_t room)
{
	const char *path = key == SHIM_KEY_FACTORY ? factory_path : image_path;
	/* 0 is O_RDONLY of every host that native_sim runs on. */
	int file = path == NULL ? -1 : nsi_host_open(path, 0);
	long len = 0;

	if (path != NULL && file < 0) {
		posix_print_error_and_exit("%s: the key's file cannot be read\n", path);
	}
	if (file >= 0) {
		len = nsi_host_read(file, data, room);
		(void)nsi_host_close(file);
	}
	return len > 0 ? (size_t)len : 0;
}

static void add_options(void)
{
	static struct args_struct_t options[] = {
		{
			.option = "factory-key",
			.name = "file",
			.type = 's',
			.dest = (void *)&factory_path,
			.descript = "Public key (PEM) of who may provision this device",
		},
		{
			.option = "image-key",
			.name = "file",
			.type = 's',
			.dest = (void *)&image_path,
			.descript = "Public key (PEM) that images are verified with",
		},
		ARG_TABLE_ENDMARKER,
	};

	native_add_command_line_opts(options);
}

NATIVE_TASK(add_options, PRE_BOOT_1, 40);
#else
size_t shim_key_file(enum shim_key key, uint8_t *data, size_t room)
{
	ARG_UNUSED(key);
	ARG_UNUSED(data);
	ARG_UNUSED(room);
	return 0;
}
#endif
