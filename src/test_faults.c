/*
 * Images that are made to fail, for tests of updates on emulated boards: Kconfig, SENSOR_TEST_FAULTS. The build number in
 * the image's own header says how. What is wrong further up is in src/fault.rs.
 */
#include "shim.h"

#include <zephyr/init.h>
#include <zephyr/kernel.h>
#include <zephyr/storage/flash_map.h>
#include <zephyr/sys/byteorder.h>

enum { HANGS = 1, PANICS = 2 };

/* Of MCUboot's header. */
#define BUILD_NUMBER_OFFSET 24

/* Read where it lies: before any driver has started. */
uint32_t shim_test_fault(void)
{
	const uint8_t *header =
		(const uint8_t *)(DT_REG_ADDR(DT_CHOSEN(zephyr_flash)) + FIXED_PARTITION_OFFSET(slot0_partition));

	return sys_get_le32(header + BUILD_NUMBER_OFFSET);
}

static int hang(void)
{
	while (shim_test_fault() == HANGS) {
	}
	return 0;
}

SYS_INIT(hang, EARLY, 0);

static void panic(struct k_work *work)
{
	ARG_UNUSED(work);
	k_panic();
}

static K_WORK_DELAYABLE_DEFINE(panic_later, panic);

static int prepare(void)
{
	if (shim_test_fault() == PANICS) {
		(void)k_work_schedule(&panic_later, K_MSEC(CONFIG_SENSOR_TEST_FAULT_MS));
	}
	return 0;
}

SYS_INIT(prepare, APPLICATION, 0);
