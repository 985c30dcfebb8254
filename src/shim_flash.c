/* See shim_flash.h. */
#include "shim_flash.h"

#include <errno.h>

#include <zephyr/device.h>
#include <zephyr/drivers/flash.h>

struct place {
	uint8_t id;
	uint32_t size;
	uint32_t erase;
	uint32_t write;
};

#define PLACE(name, label)                                                                                             \
	[SHIM_FLASH_##name] = {                                                                                        \
		.id = FIXED_PARTITION_ID(label),                                                                       \
		.size = SHIM_##name##_SIZE,                                                                            \
		.erase = SHIM_##name##_ERASE,                                                                          \
		.write = SHIM_##name##_WRITE,                                                                          \
	}

static const struct place places[] = {
	PLACE(VAULT, vault_partition),
	PLACE(LOG, log_partition),
};

/* Opening looks the partition up in a table; there is nothing to close. */
static int area_of(enum shim_flash_area which, const struct flash_area **area)
{
	return flash_area_open(places[which].id, area);
}

int shim_flash_check(enum shim_flash_area which)
{
	const struct place *place = &places[which];
	const struct flash_area *area;
	struct flash_pages_info first;
	struct flash_pages_info last;
	int error = area_of(which, &area);

	if (error != 0) {
		return error;
	}
	if (!device_is_ready(area->fa_dev)) {
		return -ENODEV;
	}
	error = flash_get_page_info_by_offs(area->fa_dev, area->fa_off, &first);
	if (error == 0) {
		error = flash_get_page_info_by_offs(area->fa_dev, area->fa_off + place->size - 1, &last);
	}
	if (error == 0 && (first.start_offset != area->fa_off || first.size != place->erase || last.size != place->erase ||
			   flash_get_write_block_size(area->fa_dev) != place->write ||
			   flash_get_parameters(area->fa_dev)->erase_value != 0xff)) {
		error = -EINVAL;
	}
	return error;
}

int shim_flash_read(enum shim_flash_area which, uint32_t offset, uint8_t *data, size_t len)
{
	const struct flash_area *area;
	int error = area_of(which, &area);

	return error != 0 ? error : flash_area_read(area, offset, data, len);
}

int shim_flash_write(enum shim_flash_area which, uint32_t offset, const uint8_t *data, size_t len)
{
	const struct flash_area *area;
	int error = area_of(which, &area);

	return error != 0 ? error : flash_area_write(area, offset, data, len);
}

int shim_flash_erase(enum shim_flash_area which, uint32_t offset, size_t len)
{
	const struct flash_area *area;
	int error = area_of(which, &area);

	return error != 0 ? error : flash_area_erase(area, offset, len);
}
