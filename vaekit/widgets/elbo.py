class ElboWidget: pass
