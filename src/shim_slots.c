/*
 * See shim_slots.h. MCUboot swaps by offset: the image that is to be tried begins in the second sector of slot 1, and a
 * swap leaves the former image at its beginning. The trailers are written by MCUboot's own code.
 */
#include "shim_slots.h"
#include "shim.h"

#include <errno.h>

#include <bootutil/bootutil_public.h>
#include <zephyr/device.h>
#include <zephyr/drivers/flash.h>
#include <zephyr/init.h>
#include <zephyr/kernel.h>
#include <zephyr/storage/flash_map.h>
#include <zephyr/sys/reboot.h>
#include <zephyr/sys/util.h>

/* native_sim has no MCUboot: downloads are tested there, and nothing swaps. */
#define HAS_SLOTS (IS_ENABLED(CONFIG_BOOTLOADER_MCUBOOT) || IS_ENABLED(CONFIG_ARCH_POSIX))

BUILD_ASSERT(!IS_ENABLED(CONFIG_BOOTLOADER_MCUBOOT) || IS_ENABLED(CONFIG_MCUBOOT_BOOTLOADER_MODE_SWAP_USING_OFFSET),
	     "The candidate is written where MCUboot's swap-using-offset looks for it: "
	     "SB_CONFIG_MCUBOOT_MODE_SWAP_USING_OFFSET=y.");
BUILD_ASSERT(CONFIG_SENSOR_TRIAL_MS < CONFIG_SENSOR_TRIAL_DEADLINE_MS,
	     "SENSOR_TRIAL_DEADLINE_MS must leave time for SENSOR_TRIAL_MS.");

#if HAS_SLOTS

/* bootutil_area.c: swap size, swap type, copy done, image ok, sizes of the TLVs, magic. No encryption. */
#define TRAILER_INFO_BYTES (5 * BOOT_MAX_ALIGN + BOOT_MAGIC_ALIGN_SIZE)
/* A sector's swap takes three steps, each noted in a word. */
#define STATUS_WORDS 3

struct shape {
	const struct flash_area *running;
	const struct flash_area *candidate;
	uint32_t sector;
	uint32_t word;
	/* Where the candidate begins in its slot. */
	uint32_t begin;
	/* Of a trailer, in whole sectors. */
	uint32_t trailer;
	uint32_t capacity;
};

/* Opening looks the partition up in a table; there is nothing to close. */
static int shape_of(struct shape *shape)
{
	const struct flash_parameters *parameters;
	struct flash_pages_info page;
	uint32_t sectors;
	int error;

	error = flash_area_open(FIXED_PARTITION_ID(slot0_partition), &shape->running);
	if (error == 0) {
		error = flash_area_open(FIXED_PARTITION_ID(slot1_partition), &shape->candidate);
	}
	if (error != 0) {
		return error;
	}
	if (!device_is_ready(shape->candidate->fa_dev)) {
		return -ENODEV;
	}
	error = flash_get_page_info_by_offs(shape->candidate->fa_dev, shape->candidate->fa_off, &page);
	if (error != 0) {
		return error;
	}
	parameters = flash_get_parameters(shape->candidate->fa_dev);
	shape->sector = page.size;
	shape->word = parameters->write_block_size;
	if (page.start_offset != shape->candidate->fa_off || parameters->erase_value != 0xff ||
	    shape->running->fa_size % shape->sector != 0 || shape->candidate->fa_size % shape->sector != 0 ||
	    shape->word > BOOT_MAX_ALIGN) {
		return -ENOTSUP;
	}
	/* Other sectors further on would make the sums below wrong. */
	error = flash_get_page_info_by_offs(shape->candidate->fa_dev,
					    shape->candidate->fa_off + shape->candidate->fa_size - 1, &page);
	if (error != 0 || page.size != shape->sector) {
		return error != 0 ? error : -ENOTSUP;
	}
	sectors = MAX(shape->running->fa_size, shape->candidate->fa_size) / shape->sector;
	shape->trailer = ROUND_UP(sectors * STATUS_WORDS * shape->word + TRAILER_INFO_BYTES, shape->sector);
	shape->begin = IS_ENABLED(CONFIG_MCUBOOT_BOOTLOADER_MODE_SWAP_USING_OFFSET) ? shape->sector : 0;
	/* swap_offset.c, app_max_size(). */
	if (shape->running->fa_size <= shape->trailer || shape->candidate->fa_size <= shape->trailer + shape->begin) {
		return -ENOTSUP;
	}
	shape->capacity = MIN(shape->running->fa_size - shape->trailer,
			      shape->candidate->fa_size - shape->trailer - shape->begin);
	return 0;
}

int shim_slots_layout(struct shim_slots_layout *layout)
{
	struct shape shape;
	int error = shape_of(&shape);

	if (error == 0) {
		*layout = (struct shim_slots_layout){
			.capacity = shape.capacity, .sector = shape.sector, .word = shape.word};
	}
	return error;
}

int shim_slots_read_running(uint32_t offset, uint8_t *data, size_t len)
{
	struct shape shape;
	int error = shape_of(&shape);

	return error != 0 ? error : flash_area_read(shape.running, offset, data, len);
}

int shim_slots_read_candidate(uint32_t offset, uint8_t *data, size_t len)
{
	struct shape shape;
	int error = shape_of(&shape);

	if (error == 0 && (offset > shape.capacity || len > shape.capacity - offset)) {
		error = -EINVAL;
	}
	return error != 0 ? error : flash_area_read(shape.candidate, shape.begin + offset, data, len);
}

/* The shape, where the candidate's slot may be changed. */
static int free_shape(struct shape *shape)
{
	int on_trial = shim_slots_on_trial();

	if (on_trial != 0) {
		return on_trial < 0 ? on_trial : -EBUSY;
	}
	return shape_of(shape);
}

static int erase_trailer(const struct shape *shape)
{
	return flash_area_erase(shape->candidate, shape->candidate->fa_size - shape->trailer, shape->trailer);
}

int shim_slots_discard(void)
{
	struct shape shape;
	int error = free_shape(&shape);

	/* The mark first: without it nothing else counts. */
	if (error == 0) {
		error = erase_trailer(&shape);
	}
	/* The former image's header, if a swap has left one, and the candidate's. */
	if (error == 0) {
		error = flash_area_erase(shape.candidate, 0, shape.begin + shape.sector);
	}
	return error;
}

int shim_slots_erase(uint32_t offset)
{
	struct shape shape;
	int error = free_shape(&shape);

	if (error == 0 && (offset >= shape.capacity || offset % shape.sector != 0)) {
		error = -EINVAL;
	}
	return error != 0 ? error : flash_area_erase(shape.candidate, shape.begin + offset, shape.sector);
}

int shim_slots_write(uint32_t offset, const uint8_t *data, size_t len)
{
	struct shape shape;
	int error = free_shape(&shape);

	if (error == 0 && (offset > shape.capacity || len > shape.capacity - offset || offset % shape.word != 0 ||
			   len % shape.word != 0)) {
		error = -EINVAL;
	}
	return error != 0 ? error : flash_area_write(shape.candidate, shape.begin + offset, data, len);
}

int shim_slots_mark(void)
{
	struct boot_swap_state state;
	struct shape shape;
	int error = free_shape(&shape);

	/* What is left of a mark that was cut off, or of an older one, would be taken for another order. */
	if (error == 0) {
		error = erase_trailer(&shape);
	}
	if (error == 0 && (boot_set_next(shape.candidate, false, false) != 0 ||
			   boot_read_swap_state(shape.candidate, &state) != 0 || state.magic != BOOT_MAGIC_GOOD)) {
		error = -EIO;
	}
	return error;
}

/* MCUboot's own condition for going back (bootutil_public.c, boot_swap_tables). */
int shim_slots_on_trial(void)
{
	struct boot_swap_state state;

	if (!IS_ENABLED(CONFIG_BOOTLOADER_MCUBOOT)) {
		return 0;
	}
	if (boot_read_swap_state_by_id(FIXED_PARTITION_ID(slot0_partition), &state) != 0) {
		return -EIO;
	}
	return state.magic == BOOT_MAGIC_GOOD && state.copy_done == BOOT_FLAG_SET && state.image_ok == BOOT_FLAG_UNSET;
}

/*
 * The last resort against an image that works but neither confirms itself nor gives up: it is taken back without the main
 * loop's help.
 */
static void give_up(struct k_timer *timer)
{
	ARG_UNUSED(timer);
	shim_note_reset(SHIM_RESET_SOFTWARE);
	sys_reboot(SYS_REBOOT_COLD);
}

static K_TIMER_DEFINE(deadline, give_up, NULL);

static int watch_trial(void)
{
	/*
	 * A trailer that cannot be read starts nothing: an image that stays would be restarted for ever. Watchdog and the
	 * device's own deadline are there as well.
	 */
	if (shim_slots_on_trial() == 1) {
		k_timer_start(&deadline,
			      K_MSEC(CONFIG_SENSOR_TRIAL_DEADLINE_MS + CONFIG_SENSOR_WATCHDOG_TIMEOUT_MS), K_NO_WAIT);
	}
	return 0;
}

SYS_INIT(watch_trial, APPLICATION, 0);

int shim_slots_confirm(void)
{
	const struct flash_area *running;
	int error = flash_area_open(FIXED_PARTITION_ID(slot0_partition), &running);

	if (error == 0 && IS_ENABLED(CONFIG_BOOTLOADER_MCUBOOT) && boot_set_next(running, true, true) != 0) {
		error = -EIO;
	}
	if (error == 0 && shim_slots_on_trial() != 0) {
		error = -EIO;
	}
	if (error == 0) {
		k_timer_stop(&deadline);
	}
	return error;
}

#else

int shim_slots_layout(struct shim_slots_layout *layout)
{
	ARG_UNUSED(layout);
	return -ENOTSUP;
}

int shim_slots_read_running(uint32_t offset, uint8_t *data, size_t len)
{
	ARG_UNUSED(offset);
	ARG_UNUSED(data);
	ARG_UNUSED(len);
	return -ENOTSUP;
}

int shim_slots_read_candidate(uint32_t offset, uint8_t *data, size_t len)
{
	return shim_slots_read_running(offset, data, len);
}

int shim_slots_discard(void)
{
	return -ENOTSUP;
}

int shim_slots_erase(uint32_t offset)
{
	ARG_UNUSED(offset);
	return -ENOTSUP;
}

int shim_slots_write(uint32_t offset, const uint8_t *data, size_t len)
{
	ARG_UNUSED(offset);
	ARG_UNUSED(data);
	ARG_UNUSED(len);
	return -ENOTSUP;
}

int shim_slots_mark(void)
{
	return -ENOTSUP;
}

int shim_slots_on_trial(void)
{
	return 0;
}

int shim_slots_confirm(void)
{
	return 0;
}

#endif
