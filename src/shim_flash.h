/*
 * The flash partitions that the firmware itself keeps something in, and nobody else: their shape, and the way through
 * Zephyr's flash map. What lies in them is not known here.
 */
#ifndef SHIM_FLASH_H_
#define SHIM_FLASH_H_

#include <stddef.h>
#include <stdint.h>
#include <zephyr/devicetree.h>
#include <zephyr/storage/flash_map.h>

enum shim_flash_area { SHIM_FLASH_VAULT, SHIM_FLASH_LOG };

/* What the devicetree says of a partition, in bytes: all of it, what is erased at once, what is written at once. */
#define SHIM_FLASH_SHAPE(name, label)                                                                                  \
	SHIM_##name##_SIZE = FIXED_PARTITION_SIZE(label),                                                              \
	SHIM_##name##_ERASE = DT_PROP(DT_GPARENT(DT_NODELABEL(label)), erase_block_size),                              \
	SHIM_##name##_WRITE = DT_PROP(DT_GPARENT(DT_NODELABEL(label)), write_block_size)

enum {
	SHIM_FLASH_SHAPE(VAULT, vault_partition),
	SHIM_FLASH_SHAPE(LOG, log_partition),
};

/* Negative errno on error. -ENODEV: no driver; -EINVAL: the flash has other blocks than those of the devicetree, or
 * other bytes than 0xff when it is erased. */
int shim_flash_check(enum shim_flash_area area);
/* Offsets count from the partition's beginning; what does not lie in it is refused. */
int shim_flash_read(enum shim_flash_area area, uint32_t offset, uint8_t *data, size_t len);
int shim_flash_write(enum shim_flash_area area, uint32_t offset, const uint8_t *data, size_t len);
int shim_flash_erase(enum shim_flash_area area, uint32_t offset, size_t len);

#endif
