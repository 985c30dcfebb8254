/*
 * The two slots for firmware and their trailers, as MCUboot has them: flash map and bootutil. Offsets count from where the
 * image begins. Owns where that is; what an image must be is not known here.
 */
#ifndef SHIM_SLOTS_H_
#define SHIM_SLOTS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All in bytes. */
struct shim_slots_layout {
	uint32_t capacity;
	uint32_t sector;
	uint32_t word;
};

/* All give a negative errno on error. -ENOTSUP: this build has no bootloader, or flash of another shape. */
int shim_slots_layout(struct shim_slots_layout *layout);
int shim_slots_read_running(uint32_t offset, uint8_t *data, size_t len);
int shim_slots_read_candidate(uint32_t offset, uint8_t *data, size_t len);
/* The next four: -EBUSY while the image that runs is on trial. The candidate's slot has its fallback then. */
int shim_slots_discard(void);
int shim_slots_erase(uint32_t offset);
int shim_slots_write(uint32_t offset, const uint8_t *data, size_t len);
int shim_slots_mark(void);
/* 1 where MCUboot goes back to the former image at the next start, 0 where not. */
int shim_slots_on_trial(void);
int shim_slots_confirm(void);

#endif
