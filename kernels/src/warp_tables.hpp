// Makes what duoview/warp_tables.hpp describes, from the committed integer frequencies.
#pragma once

#include "duoview/warp_tables.hpp"

namespace duoview {

WarpDecodeTables make_warp_decode_tables();
WarpEncodeTables make_warp_encode_tables();

}  // namespace duoview
