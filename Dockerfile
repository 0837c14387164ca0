# An image with ppema and its C++ operations, and without a compiler: docker build -t ppema .
ARG PYTHON=3.11
ARG PADDLE=3.3.1

FROM python:${PYTHON}-slim AS builder
ARG PADDLE
# Paddle needs libgomp1.
RUN apt-get update && apt-get install -y --no-install-recommends g++ libgomp1 && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir paddlepaddle==${PADDLE}
WORKDIR /source
COPY . .
# For the Paddle above, or not at all: without PPEMA_BUILD_FOR, a failure would make a wheel without the operations.
RUN PPEMA_BUILD_FOR=/usr/local/bin/python pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG PADDLE
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=builder /wheels /wheels
RUN pip install --no-cache-dir paddlepaddle==${PADDLE} /wheels/*.whl
RUN useradd --create-home user
USER user
# Paddle's import makes a folder in the home, which may then be read-only.
RUN python -c "import paddle"
WORKDIR /home/user
ENTRYPOINT ["ppema"]
