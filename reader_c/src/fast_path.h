/* Which compiled form of `fast` this machine can run. */
#ifndef EXPORT_AND_VERIFY_FAST_PATH_H
#define EXPORT_AND_VERIFY_FAST_PATH_H

#include "fast.h"

/* path: enum rc_path. NULL where this machine, or this build, has no such path. */
const rc_fast *rc_fast_path(int path);

#endif
