// `require` checks an operation's inputs. It throws Paddle's exception, since Paddle 3's executor loses the text of any other.

#pragma once

#include <string>

#include "paddle/phi/core/enforce.h"

inline void require(bool holds, const char* what, const std::string& which = "") {
  if (!holds) PADDLE_THROW(phi::errors::InvalidArgument("%s%s", what, which));
}
