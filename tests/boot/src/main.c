/*
 * An image for tests of MCUboot. It tells which version runs and whether it is on trial, and does what the orders in the
 * first bytes of the storage partition say: the test writes them into the flash file. Whatever its orders, one line with
 * "steady" in it says that nothing more will happen by itself.
 */

#include <string.h>
#include <bootutil/boot_status.h>
#include <zephyr/dfu/mcuboot.h>
#include <zephyr/init.h>
#include <zephyr/kernel.h>
#include <zephyr/retention/blinfo.h>
#include <zephyr/storage/flash_map.h>
#include <zephyr/sys/printk.h>
#include <zephyr/sys/reboot.h>

/* Of the crate `virtualboard`, image.rs. 0xff, which is erased flash, is "no" everywhere. */
struct orders {
	char magic[4];
	/* 1: ask for the image in slot 1 where it is newer. 2: whatever is there. 3: for good, whatever is there. */
	uint8_t mark;
	/* 1: confirm when on trial. */
	uint8_t confirm;
	/* 1: restart after marking, and when on trial and not confirmed. */
	uint8_t restart;
	/* The version with this major number stops before any driver has started. */
	uint8_t hang_major;
	/* The version with this major number panics once it has started. */
	uint8_t panic_major;
};

/* The sector that the trailer ends in: its magic number, flags and swap information. */
#define TRAILER_BYTES DT_PROP(DT_CHOSEN(zephyr_flash), erase_block_size)
#define FLASH_BASE DT_REG_ADDR(DT_CHOSEN(zephyr_flash))

static const struct orders *orders(void)
{
	static const struct orders none = {"", 0xff, 0xff, 0xff, 0xff, 0xff};
	const struct orders *given = (const void *)(FLASH_BASE + FIXED_PARTITION_OFFSET(storage_partition));

	return memcmp(given->magic, "ORDR", sizeof(given->magic)) == 0 ? given : &none;
}

/* The major number is byte 20 of the image's header. */
static uint8_t own_major(void)
{
	return *(const volatile uint8_t *)(FLASH_BASE + FIXED_PARTITION_OFFSET(slot0_partition) + 20);
}

static int hang(void)
{
	while (orders()->hang_major == own_major()) {
	}
	return 0;
}

SYS_INIT(hang, EARLY, 0);

static bool is_newer(const struct mcuboot_img_sem_ver *a, const struct mcuboot_img_sem_ver *b)
{
	if (a->major != b->major) {
		return a->major > b->major;
	}
	if (a->minor != b->minor) {
		return a->minor > b->minor;
	}
	return a->revision > b->revision;
}

/*
 * Asks MCUboot for the image in slot 1. A mark that was torn by a power cut has a magic number that is neither there nor
 * erased, which boot_request_upgrade() refuses for ever: what is left of one is erased first.
 */
static int mark(int permanent)
{
	const struct flash_area *slot;
	int rc = flash_area_open(FIXED_PARTITION_ID(slot1_partition), &slot);

	if (rc != 0) {
		return rc;
	}
	rc = flash_area_erase(slot, slot->fa_size - TRAILER_BYTES, TRAILER_BYTES);
	flash_area_close(slot);
	return rc != 0 ? rc : boot_request_upgrade(permanent);
}

/*
 * Whether MCUboot would bring the former image back at the next start. boot_is_img_confirmed() tells otherwise where power
 * was lost while the confirmation was written: it is then neither there nor erased, and the image stays.
 */
static bool is_on_trial(void)
{
	return mcuboot_swap_type() == BOOT_SWAP_TYPE_REVERT;
}

/* What MCUboot has left in retained RAM. */
static void tell_boot_info(void)
{
	uint8_t mode = 0xff, signature = 0xff;
	uint32_t room = 0;

	blinfo_lookup(BLINFO_MODE, &mode, sizeof(mode));
	blinfo_lookup(BLINFO_SIGNATURE_TYPE, &signature, sizeof(signature));
	blinfo_lookup(BLINFO_MAX_APPLICATION_SIZE, (char *)&room, sizeof(room));
	printk("boot-test: boot info mode %u signature %u room %u\n", mode, signature, room);
}

static void restart(void)
{
	if (orders()->restart == 1) {
		sys_reboot(SYS_REBOOT_COLD);
	}
}

int main(void)
{
	struct mcuboot_img_header own, candidate;
	int rc = boot_read_bank_header(FIXED_PARTITION_ID(slot0_partition), &own, sizeof(own));
	const struct mcuboot_img_sem_ver *version = &own.h.v1.sem_ver;
	bool confirmed = !is_on_trial();
	int swap = mcuboot_swap_type();

	if (rc != 0) {
		printk("boot-test: the own header cannot be read: %d\n", rc);
		return 0;
	}
	printk("boot-test: runs %d.%d.%d %s swap %d\n", version->major, version->minor, version->revision,
	       confirmed ? "confirmed" : "trial", swap);
	tell_boot_info();
	if (orders()->panic_major == version->major) {
		k_panic();
	}
	if (!confirmed) {
		if (orders()->confirm == 1) {
			rc = boot_write_img_confirmed();
			printk("boot-test: confirms %d\n", rc);
		} else {
			restart();
		}
	} else if (orders()->mark <= 3 && orders()->mark > 0 && swap == BOOT_SWAP_TYPE_NONE) {
		rc = boot_read_bank_header(FIXED_PARTITION_ID(slot1_partition), &candidate, sizeof(candidate));
		if (orders()->mark >= 2 || (rc == 0 && is_newer(&candidate.h.v1.sem_ver, version))) {
			rc = mark(orders()->mark == 3 ? BOOT_UPGRADE_PERMANENT : BOOT_UPGRADE_TEST);
			printk("boot-test: marks %d\n", rc);
			restart();
		}
	} else if (swap != BOOT_SWAP_TYPE_NONE) {
		/* Marked, and power was lost before the restart. */
		restart();
	}
	printk("boot-test: steady %d.%d.%d %s\n", version->major, version->minor, version->revision,
	       is_on_trial() ? "trial" : "confirmed");
	return 0;
}
