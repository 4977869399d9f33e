#include "protocol/loan_order.h"

#include <fmt/format.h>

#include "base/json.h"
#include "cq/error.h"

namespace cq {

std::string LoanOrderText(const LoanOrder& order) {
  return JsonText({{"program", JsonOfList(order.program)},
                   {"connect", JsonOfBytes(order.connection_file)},
                   {"allocation", JsonOfBytes(order.allocation)},
                   {"log", JsonOfBytes(order.log_file)},
                   {"master_pid", order.master_pid},
                   {"master_start", order.master_start},
                   {"workers_lock", JsonOfBytes(order.workers_lock)}});
}

LoanOrder ParseLoanOrder(const std::string& text) {
  try {
    const auto json = ParseJson(text);
    LoanOrder order;
    order.program = ListOfJson(json.at("program"));
    order.connection_file = BytesOfJson(json.at("connect"));
    order.allocation = BytesOfJson(json.at("allocation"));
    order.log_file = BytesOfJson(json.at("log"));
    json.at("master_pid").get_to(order.master_pid);
    json.at("master_start").get_to(order.master_start);
    order.workers_lock = BytesOfJson(json.at("workers_lock"));
    if (order.program.empty()) throw Error("it names no program");
    return order;
  } catch (const OrderedJson::exception& error) {
    throw Error(error.what());
  }
}

}  // namespace cq
