#include "memory/page_store.h"

namespace farpage {
namespace {

class WritesAtOnce final : public PageWrites {
 public:
  explicit WritesAtOnce(PageStore& store) : store_(store) {}
  void Begin(PageImage* image) override {
    if (Status written = store_.Write({image, 1}); !written.ok()) image->outcome = written;
  }
  void End() override {}

 private:
  PageStore& store_;
};

}  // namespace

std::unique_ptr<PageWrites> PageStore::StartWrites() {
  return std::make_unique<WritesAtOnce>(*this);
}

}  // namespace farpage
