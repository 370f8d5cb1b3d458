from .engine import BatchedEngine as BatchedEngine
